"""How a report is shown: in a terminal, as Markdown, as a page."""
