"""Multimodal search and recommendation for image+text notes.

The library: no Ray, no command line, reads no settings file. Importing it is quick and loads no heavy library;
each heavy library is loaded by the one sub-package that is its home (see ``docs/architecture.md``).
"""

__version__ = "0.1.0"
