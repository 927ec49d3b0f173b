"""One module per tab, found by ``app.build``: each has TITLE, ORDER and build(lab, shared)."""
