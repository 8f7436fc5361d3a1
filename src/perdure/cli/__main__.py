"""``python -m perdure.cli`` is the command ``perdure``, also where no script was installed."""

from perdure.cli.main import main

if __name__ == "__main__":
    main()
