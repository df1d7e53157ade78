"""Digits in photographs: shades, views and find look for them; hands and negatives make training
images, which training adds to batches.
"""
