"""Bundles in other runtimes: Node and a page in Chromium."""
