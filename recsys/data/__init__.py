"""Catalogues, events, media, splits and the generated world."""
