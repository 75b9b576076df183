"""What the commands show: each table is described once, and drawn as text, JSON and a page."""
