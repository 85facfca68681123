"""Backbones and preprocessing: what turns one picture or one text into numbers."""
