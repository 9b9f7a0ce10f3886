"""Text in HTML, whatever it holds."""

import html


def escaped(text: str) -> str:
    """Text as HTML shows it; what UTF-8 cannot hold (of a file's name, say) is spelt out."""
    return html.escape(text.encode("utf-8", "backslashreplace").decode())
