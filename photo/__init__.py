"""Digits in photographs: shades, views and find look for them; hands and negatives draw them."""
