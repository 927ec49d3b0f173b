"""Start the lab in a browser: ``python app.py``, or ``python app.py --host 0.0.0.0 --port 7860 --share``."""

from __future__ import annotations

import argparse
import os


def main() -> None:
    """Read the flags, build the page and serve it until it is stopped.

    Flags that are left out are Gradio's to fill in, from its environment variables
    (GRADIO_SERVER_NAME, GRADIO_SERVER_PORT, GRADIO_SHARE, ...) or its own defaults.
    """
    parser = argparse.ArgumentParser(description="LISA Lab in a browser")
    parser.add_argument("--host", help="address to listen on (default: GRADIO_SERVER_NAME, else 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port (default: GRADIO_SERVER_PORT, else from 7860)")
    parser.add_argument("--share", action="store_true", help="also make a public link through gradio.live")
    arguments = parser.parse_args()

    # Gradio reads this when it is imported, and would otherwise call its makers' servers.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    from app.build import build, launch
    from lisa.lab import Lab

    page = build(Lab())
    launch(page, server_name=arguments.host, server_port=arguments.port, share=arguments.share or None)


if __name__ == "__main__":
    main()
