"""The documentation: `make docs` builds it into build/docs."""

import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import docstrings  # noqa: E402

project = "lattice-flows"
author = "the authors of lattice-flows"
release = metadata.version("lattice-flows")
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx_click"]
exclude_patterns = ["Thumbs.db", ".DS_Store"]
default_role = "code"
smartquotes = False  # of -- they would make a dash

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = "lattice-flows"
html_copy_source = False
html_show_sphinx = False


def setup(app):
    """Docstrings and helps are plain text: they are made into reStructuredText on the way."""
    app.connect("autodoc-process-docstring", docstrings.of_python)
    app.connect("sphinx-click-process-description", docstrings.of_command)
    app.connect("sphinx-click-process-options", docstrings.of_options)
