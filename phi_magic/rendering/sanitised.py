"""HTML that a model wrote, as HTML that may stand in a page: it draws, and does nothing else.

By nh3, the bindings of Rust's ammonia: html5ever parses as browsers do, and what is not listed here is not written.
(bleach, which nbconvert brings, has been deprecated by its makers since 2023, and cleans with Python's html5lib.)
"""

from __future__ import annotations

import re

from .characters import to_text
from .document import LONGEST
from .html import to_html

# No form, no script, no frame, no style sheet, no SVG or MathML: nothing that acts, loads or reaches other elements.
_TAGS = set(
    "a abbr b bdi bdo blockquote br caption center cite code col colgroup dd del details dfn div dl dt em figcaption"
    " figure footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main mark meter nav ol p pre progress q rp rt ruby s"
    " samp section article aside small span strike strong sub summary sup table tbody td tfoot th thead time tr tt u"
    " ul var wbr".split()
)
_CONTENT_TOO = {
    "script",
    "style",
    "template",
    "noscript",
    "iframe",
    "object",
    "title",
    "textarea",
    "select",
    "svg",
    "math",
}
# No id, class or data-: a page's scripts and styles find elements by them, and JupyterLab runs commands by data-.
_ATTRIBUTES = {
    "*": {"title", "lang", "dir", "style", "align", "valign"},
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
    "col": {"span"},
    "colgroup": {"span"},
    "ol": {"start", "type", "reversed"},
    "li": {"value"},
    "details": {"open"},
    "meter": {"value", "min", "max", "low", "high", "optimum"},
    "progress": {"value", "max"},
    "time": {"datetime"},
}
# Properties that take no address, and place nothing outside of the answer.
_STYLES = set(
    "color background-color font-family font-size font-style font-variant font-weight line-height letter-spacing"
    " text-align text-decoration text-indent text-transform vertical-align white-space word-spacing direction"
    " border border-bottom border-collapse border-color border-left border-radius border-right border-spacing"
    " border-style border-top border-width padding padding-bottom padding-left padding-right padding-top"
    " margin margin-bottom margin-left margin-right margin-top width height max-width max-height min-width"
    " min-height display flex flex-direction flex-wrap gap justify-content align-items grid-template-columns"
    " float clear opacity list-style-type caption-side table-layout".split()
)
_LOADS = re.compile(r"url|image|src|expression|var\s*\(|attr\s*\(|[\\@<>]", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://\S|mailto:\S", re.IGNORECASE)
_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]*", re.IGNORECASE)
_FIGURE = re.compile(r"\d{1,4}%?")
#: A tag as html5ever writes it: attributes in double quotes, and no double quote within them.
_TAG = re.compile(r'(<[^<>"]*(?:"[^"]*"[^<>"]*)*>)')


def sanitised(source: str) -> str:
    """Return HTML in which nothing runs, loads, submits or covers what is around it: one ``div`` of class ``phi-html``.

    Links lead to http, https and mailto; pictures are those that the HTML itself holds (``data:``); a formula stays
    its source. Never raises; a text longer than any answer is shown as text.
    """
    import nh3

    if len(source) > LONGEST:
        return to_html(source)
    clean = nh3.clean(
        to_text(source),
        tags=_TAGS,
        clean_content_tags=_CONTENT_TOO,
        attributes=_ATTRIBUTES,
        attribute_filter=_attribute,
        filter_style_properties=_STYLES,
        url_schemes={"http", "https", "mailto", "data"},
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
    # A typesetter that reads the page must find no delimiter: alone in its element, none begins anything.
    parts = _TAG.split(clean)
    parts[::2] = [text.replace("\\", "<span>\\</span>").replace("$", "<span>$</span>") for text in parts[::2]]
    return f'<div class="phi-html" style="contain: content; overflow: auto">{"".join(parts)}</div>'


def _attribute(tag: str, name: str, value: str) -> str | None:
    value = value.strip()
    if name == "href":
        return value if _ADDRESS.match(value) else None
    if name == "src":
        return value if _PICTURE.fullmatch(value) else None
    if name == "style":
        return None if _LOADS.search(value) else value
    if name in ("colspan", "rowspan", "span", "width", "height"):
        return value if _FIGURE.fullmatch(value) else None
    return value
