"""Figures of files."""
