"""``marble lab``"""
