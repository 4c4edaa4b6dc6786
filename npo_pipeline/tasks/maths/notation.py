# ruff: noqa: RUF001, RUF002
"""One notation for the many ways an answer is typed: Unicode signs, LaTeX spacing, fonts, delimiters and boxes.

Only the way of writing changes here, never the value: a sign is kept, digits are not joined, and nothing is searched for.
"""

import re
import unicodedata
from collections.abc import Iterator

THIN = "\N{THIN SPACE}"  # any space that is not a plain one: between digits it groups them
MONEY = "\N{FULLWIDTH DOLLAR SIGN}"  # a dollar that is money: "$" delimits mathematics
RANGE = "\N{EN DASH}"  # between two values; as a sign it is a minus
UNIT_LETTERS = "mgsLlhNJWVAKCF"  # what may be a unit where it stands alone

_SPACES = "\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{FIGURE SPACE}\N{PUNCTUATION SPACE}\N{HAIR SPACE}\N{MEDIUM MATHEMATICAL SPACE}"
_SIGNS: dict[str, str] = dict.fromkeys(
    "\N{MINUS SIGN}\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{SMALL HYPHEN-MINUS}\N{FULLWIDTH HYPHEN-MINUS}", "-"
)
_SIGNS |= dict.fromkeys("\N{EM DASH}\N{FIGURE DASH}\N{HORIZONTAL BAR}", RANGE)
_SIGNS |= {"\N{FRACTION SLASH}": "/", "\N{DIVISION SLASH}": "/", "\N{DIVISION SIGN}": "/", "\N{PRIME}": "'", "\N{ZERO WIDTH SPACE}": ""}
_SIGNS |= {
    sign: f" \\{name} "
    for sign, name in {
        "×": "times", "·": "cdot", "⋅": "cdot", "∙": "cdot", "∗": "cdot", "π": "pi", "∞": "infty", "≤": "le", "⩽": "le", "≥": "ge",
        "⩾": "ge",
        "≠": "ne", "≈": "approx", "±": "pm", "∪": "cup", "∩": "cap", "∈": "in", "∅": "emptyset", "ℝ": "mathbb{R}", "ℤ": "mathbb{Z}",
        "ℕ": "mathbb{N}", "ℚ": "mathbb{Q}", "∖": "setminus",
    }.items()
}  # fmt: skip
_SIGNS |= {"°": "^\\circ ", "º": "^\\circ ", "⟨": "\\langle ", "⟩": "\\rangle "}
_SIGNS |= zip("０１２３４５６７８９", "0123456789", strict=True)
_TRANSLATION = str.maketrans(_SIGNS | dict.fromkeys(_SPACES, THIN))

_OPEN_SIGN = re.compile(rf"(^|[(\[{{,;=^]|\\times|\\cdot)(\s*){RANGE}")
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_ROOT = re.compile(r"([√∛∜])\s*(?:\{([^{}]*)\}|\(([^()]*)\)|([0-9]+(?:\.[0-9]+)?|[A-Za-z]|\\pi))")
_FONT = re.compile(
    r"\\(?:text(?:bf|it|rm|tt|sf|sl|sc|normal|up)|math(?:rm|bf|it|sf|tt|normal)|mbox|hbox|emph|boldsymbol|bm|underline)(?![A-Za-z])"
)
_SLANTED_LETTER = re.compile(  # a variable in any font; upright, beside a number, it may be a unit
    r"\\(?:text(?:bf|it|tt|sf|sl|sc)|math(?:bf|it|sf|tt)|emph|boldsymbol|bm|underline)\s*\{\s*([A-Za-z])\s*\}(?!\^)"
)
_UPRIGHT_LETTER = re.compile(rf"(?P<value>[0-9)}}$]|\\pi)?(?P<space>[\s{THIN}]{{0,9}})\\text\s*\{{\s*(?P<letter>[A-Za-z])\s*\}}(?!\^)")
_BRACKETED_MATRIX = re.compile(r"[(\[]\s*\\begin\{(array|matrix)\}(?:\{[a-z|]+\})?((?:(?!\\end).)*)\\end\{\1\}\s*[)\]]", re.DOTALL)
_REWRITES = [
    (re.compile(r"\\(?:left|right|[bB]igg?[lrm]?)(?![A-Za-z])\.?"), ""),
    (re.compile(r"\\(?:displaystyle|textstyle|limits|nolimits|rm|bf|it)(?![A-Za-z])"), ""),
    (re.compile(r"\{\s*,\s*\}|,\s*\\!\s*"), ","),
    (re.compile(r"\\!"), ""),
    (re.compile(r"(?<!\\)\\[,;: ]|~|\\(?:q?quad|thinspace|enspace|medspace)(?![A-Za-z])"), THIN),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\frac\s*([0-9])\s*([0-9])"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\frac\s*([0-9])\s*\{"), r"\\frac{\1}{"),
    (re.compile(r"(\\frac\s*\{[^{}]*\})\s*([0-9])"), r"\1{\2}"),
    (re.compile(r"\\lbrace(?![A-Za-z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![A-Za-z])"), r"\\}"),
    (re.compile(r"\\lbrack(?![A-Za-z])"), "["),
    (re.compile(r"\\rbrack(?![A-Za-z])"), "]"),
    (re.compile(r"\\text\s*\{\s*(,?\s*(?:and|or))\s*\}"), r" \1 "),
    (re.compile(r"\\text\s*\{\s*(-?[0-9.,/]+)\s*\}(?!\^)"), r"{\1}"),  # a number: in any font the same
    (re.compile(r"\\lt(?![A-Za-z])"), "<"),
    (re.compile(r"\\gt(?![A-Za-z])"), ">"),
    (re.compile(r"\\neq(?![A-Za-z])|!="), r"\\ne "),
    (re.compile(r"\\leq(?:slant)?(?![A-Za-z])"), r"\\le"),
    (re.compile(r"\\geq(?:slant)?(?![A-Za-z])"), r"\\ge"),
    (re.compile(r"\\varnothing(?![A-Za-z])"), r"\\emptyset"),
    (re.compile(r"\^\s*\{\s*\\degrees?\s*\}|\^?\s*\\degrees?(?![A-Za-z])"), r"^\\circ "),
    (re.compile(r"\\[dt]?binom\s*([0-9])\s*([0-9])"), r"\\binom{\1}{\2}"),
    (re.compile(r"(?<=[\w)}\]])\*\*(-?[0-9]+|[A-Za-z])"), r"^{\1}"),  # a power as a program writes it
    (re.compile(r"(?<![A-Za-z\\])pi(?![A-Za-z])"), r"\\pi "),
    (re.compile(r"(?<![A-Za-z\\])(ln(?=\s*[(0-9])|exp(?=\s*\())"), r"\\\1"),
    (_BRACKETED_MATRIX, r"\\begin{pmatrix}\2\\end{pmatrix}"),
    (re.compile(r"(?<!\\)%"), r"\\%"),
    (re.compile(r"\\\$"), MONEY),
]  # fmt: skip
_PAIRS = (("\\(", "\\)"), ("\\[", "\\]"), *((mark, mark) for mark in ("$$", "$", "**", "__", "`", "*", '"', "'")))
_WRAPPED = re.compile(r"\\(?:boxed|fbox|framebox|text)\s*\{|\{")
_BEFORE_UNIT = re.compile(r"\A\$([^$]+)\$([^$]*)\Z")  # "$28$ %"
_TOKEN = re.compile(r"\\[{}]|\\langle|\\rangle|\\.|.", re.DOTALL)
_OPENING, _CLOSING = {"(", "[", "{", "\\{", "\\langle"}, {")", "]", "}", "\\}", "\\rangle"}


def canonical(text: str) -> str:
    """Unicode and LaTeX synonyms as one: "½" and "\\dfrac{1}{2}" are "\\frac{1}{2}". Example: "–5" -> "-5"; "3–5" keeps its dash."""
    signs = _ROOT.sub(_root, _LOWERED.sub(_lowered, _RAISED.sub(_raised, _fractions(text)))).translate(_TRANSLATION)
    found = _FONT.sub(r"\\text", _SLANTED_LETTER.sub(r"{\1}", unicodedata.normalize("NFC", signs)))
    for pattern, replacement in _REWRITES:
        found = pattern.sub(replacement, found)
    found = _UPRIGHT_LETTER.sub(_letter, found)
    return _OPEN_SIGN.sub(r"\1\2-", _BEFORE_UNIT.sub(r"\1 \2", unwrap(found)))


def unwrap(text: str) -> str:
    """Without what surrounds the whole of it: spaces, emphasis, one pair of delimiters, one box, a leading "=", a closing full stop."""
    before = None
    while before != text:
        before, text = text, text.strip(" \t\r\n" + THIN)
        text = text.removeprefix("=").removeprefix("\\approx") if not text.startswith("==") else text
        text = text.rstrip(". ") if not text.endswith("..") else text
        for opening, closing in _PAIRS:
            inner = text[len(opening) : -len(closing)]
            if len(text) > len(opening + closing) and text.startswith(opening) and text.endswith(closing) and closing not in inner:
                text = inner
        wrapper = _WRAPPED.match(text)
        if wrapper and closes_at(text, wrapper.end() - 1) == len(text) - 1:
            text = text[wrapper.end() : -1]
    return text


def split(text: str, separator: re.Pattern[str]) -> list[str]:
    """The parts between separators that stand in no bracket. Example: "(1,2), 3" at commas -> ["(1,2)", "3"]."""
    parts, start = [], 0
    flat = {place for place, _, depth in _scan(text) if depth == 0}
    for match in separator.finditer(text):
        if match.start() in flat and match.start() >= start:
            parts.append(text[start : match.start()])
            start = match.end()
    return [*parts, text[start:]]


def closes_at(text: str, start: int) -> int | None:
    """Where the bracket that opens at `start` closes, of whatever kind, as half-open intervals mix them."""
    for place, token, depth in _scan(text[start:]):
        if depth == 0 and token in _CLOSING:
            return start + place + len(token) - 1
    return None


def _scan(text: str) -> Iterator[tuple[int, str, int]]:
    """Place, token and how many brackets are open, not counting one that opens or closes here."""
    depth = 0
    for match in _TOKEN.finditer(text):
        depth -= match[0] in _CLOSING
        yield match.start(), match[0], depth
        depth += match[0] in _OPENING


def _fractions(text: str) -> str:
    """ "2½" as "2\\frac{1}{2}"."""
    return "".join(_fraction(sign) if unicodedata.category(sign) == "No" else sign for sign in text)


def _fraction(sign: str) -> str:
    over, slash, under = unicodedata.normalize("NFKC", sign).partition("\N{FRACTION SLASH}")
    return f"\\frac{{{over}}}{{{under}}}" if slash and under else sign


def _raised(match: re.Match[str]) -> str:
    return "^{" + unicodedata.normalize("NFKC", match[0]).replace("\N{MINUS SIGN}", "-") + "}"


def _lowered(match: re.Match[str]) -> str:
    return "_{" + unicodedata.normalize("NFKC", match[0]) + "}"


def _letter(match: re.Match[str]) -> str:
    """A letter in any font is the same, unless it can be the unit of a number: "5\\text{ m}"."""
    if match["value"] and match["letter"] in UNIT_LETTERS:
        return match[0]
    return f"{match['value'] or ''}{match['space']}{{{match['letter']}}}"


def _root(match: re.Match[str]) -> str:
    degree = {"√": "", "∛": "[3]", "∜": "[4]"}[match[1]]
    return f"\\sqrt{degree}{{{match[2] or match[3] or match[4]}}}"
