"""``python -m cnnc``."""

from cnnc.cli import main

if __name__ == "__main__":
    main()
