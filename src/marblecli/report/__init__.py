"""What is shown of a run: tables, JSON, pages."""
