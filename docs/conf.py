"""The documentation site: the Markdown files of this folder, the API pages and the executed demo."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_site"))

import api_pages  # noqa: E402
import links  # noqa: E402

import sclatent  # noqa: E402

# the demo leaves its figures there, and the gallery, which is read after it, shows them
GALLERY = HERE / "_build" / "gallery"
GALLERY.mkdir(parents=True, exist_ok=True)
os.environ["SCLATENT_GALLERY"] = str(GALLERY)

project = "sclatent"
author = "The sclatent developers"
project_copyright = author
version = release = sclatent.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "myst_nb"]
exclude_patterns = ["_build", "_site"]
nitpicky = False
# `name` in a docstring links to what has that name, and is code where nothing has
default_role = "py:obj"

autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
nb_execution_mode = "force"
nb_execution_timeout = 1200
nb_execution_raise_on_error = True
nb_merge_streams = True

html_theme = "furo"
html_title = f"sclatent {version}"
html_static_path = ["_site/static"]
html_css_files = ["wide.css"]
html_show_copyright = False


def setup(app: Any) -> None:
    """Write the API pages, and show README.md and its neighbours as pages of the site."""
    app.connect("builder-inited", lambda _: api_pages.write(HERE / "api"))
    app.connect("source-read", links.on_source_read)
