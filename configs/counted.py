"""A number with the noun that it counts: "1 run", "2,000 steps"."""


def counted(number: int | str, noun: str, plural: str = "") -> str:
    """`number`: a whole one, or one that is already written; `plural`: of the noun, where it takes more than an s."""
    text = number if isinstance(number, str) else f"{number:,}"
    return f"{text} {noun if text == '1' else plural or noun + 's'}"
