"""Optical character recognition (OCR): the words of an image with their boxes, read by programs that others wrote."""
