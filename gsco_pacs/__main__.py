"""``python -m gsco_pacs`` is ``gsco-pacs``."""

from gsco_pacs.cli import main

if __name__ == "__main__":
    main()
