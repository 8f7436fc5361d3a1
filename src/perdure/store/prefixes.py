"""Where the ids end that begin alike."""


def behind_prefix(prefix: str) -> str | None:
    """The first text greater than all that start with ``prefix``; ``None`` where there is none."""
    for position in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[position]) + 1
        if code <= 0x10FFFF:
            # Surrogates can't be stored; the next character after them sorts alike.
            return prefix[:position] + chr(0xE000 if 0xD800 <= code <= 0xDFFF else code)
    return None
