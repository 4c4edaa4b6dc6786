"""Plain numbers, read exactly, and the units, currencies and percent signs that stand beside a value."""

import re
from dataclasses import dataclass
from fractions import Fraction

from npo_pipeline.tasks.maths.notation import MONEY, THIN, UNIT_LETTERS

APPROXIMATE = Fraction(1, 10**6)  # relative: how near a decimal must be to a value that no decimal is, such as 1/3 or pi
_FLOATING = Fraction(1, 10**12)  # relative: what a number printed from floating point (15 digits or more) may be off
_LONGEST = 2000  # characters of a number

_APOSTROPHES = "'\N{RIGHT SINGLE QUOTATION MARK}"
_SIGN = r"(?P<sign>[-+]?)\s*"
_GROUPED = rf"[1-9][0-9]{{0,2}}(?P<by>[,{THIN}{_APOSTROPHES}])[0-9]{{3}}(?:(?P=by)[0-9]{{3}})*"
_PLAIN = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_POWER = (
    r"(?:[eE](?P<e>[-+]?[0-9]{1,4})|\s*(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*(?:\{\s*(?P<p>[-+]?[0-9]{1,4})\s*\}|(?P<q>[-+]?[0-9]{1,4})))"
)
_DECIMAL = re.compile(rf"{_SIGN}(?P<value>{_GROUPED}(?:\.[0-9]+)?|{_PLAIN}){_POWER}?")
_TEN = re.compile(r"(?P<sign>[-+]?)10\s*\^\s*(?:\{\s*([-+]?[0-9]{1,4})\s*\}|([-+]?[0-9]))")
_QUOTIENT = rf"(?:\\frac\s*\{{\s*(-?{_PLAIN})\s*\}}\s*\{{\s*(-?{_PLAIN})\s*\}}|({_PLAIN})\s*/\s*({_PLAIN}))"
_FRACTION = re.compile(rf"{_SIGN}{_QUOTIENT}")
_MIXED = re.compile(
    rf"{_SIGN}(?P<whole>[0-9]+)(?:[ {THIN}]+(?:and )?(?P<a>[0-9]+)\s*/\s*(?P<b>[0-9]+)"
    rf"|[ {THIN}]*\\frac\s*\{{(?P<c>[0-9]+)\}}\s*\{{(?P<d>[0-9]+)\}})"
)
GROUPED = re.compile(rf"(?:[^,=;]*=)?\s*[-+]?\s*[{MONEY}$€£¥₹]?\s*[1-9][0-9]{{0,2}}(?:,[0-9]{{3}})+(?![0-9,])[^,;]*")
SPACED = re.compile(r"[-+]?[1-9][0-9]{0,2}(?: [0-9]{3})+(?:\.[0-9]+)?")

_CURRENCIES = {MONEY: "dollar", "$": "dollar", "€": "euro", "£": "pound", "¥": "yen", "₹": "rupee"}
_MONEY = re.compile(rf"(?P<sign>[-+]?)\s*(?P<money>[{''.join(_CURRENCIES)}])\s*(?=[-+.0-9\\({{])(?P<core>.*)", re.DOTALL)
_NAMES = {
    "millimeter millimetre": "mm", "centimeter centimetre": "cm", "kilometer kilometre": "km", "meter metre": "m", "inch inches": "in",
    "foot feet": "ft", "mile mi": "mile", "yard yd": "yard", "gram gm": "g", "kilogram kilo": "kg", "milligram": "mg",
    "pound lb lbs": "pound",
    "ounce oz": "ounce", "second sec": "s", "minute min": "min", "hour hr hrs": "h", "day": "day", "year yr": "year", "liter litre l": "L",
    "milliliter millilitre ml": "mL", "degree deg": "°", "percent pct percentage": "%", "dollar usd": "dollar",
    "euro eur": "euro", "cent": "cent",
    "mph": "mile/h", "kmh kph": "km/h", "unit": "", "person people": "person", "man men": "man",
    "woman women": "woman", "child children": "child",
    "radian rad": "rad", "newton": "N", "joule": "J", "watt": "W", "volt": "V", "kelvin": "K", "hertz": "Hz", "pascal": "Pa", "mole": "mol",
    "rupee rs": "rupee",
}  # fmt: skip
_UNITS = {word: unit for words, unit in _NAMES.items() for word in words.split()}
_SYMBOLS = {
    *("mm", "cm", "dm", "km", "mg", "kg", "gm", "ft", "in", "yd", "mi", "mL", "ml", "cc", "lb", "lbs", "oz", "ms", "ns", "sec", "min"),
    *("hr", "hrs", "yr", "Hz", "kHz", "MHz", "Pa", "kPa", "mol", "rad", "deg", "eV", "kV", "kW", "MW", "mA", "mph", "kmh", "kph", "pct"),
}
_SHORT = {"car", "cat", "dog", "egg", "day", "pie", "box", "bag", "cup", "pen", "men", "man", "hen", "cow", "pig", "toy", "usd", "rs"}
_NO_UNIT_WORDS = """
and or not but to plus minus times over if is less more than from with without between except instead unless choose base mod modulo
divided equals multiplied raised added subtracted reduced increased decreased negative negated opposite conjugate inverse reciprocal
squared cubed root roots radical factorial half halves halved double doubled triple tripled quadruple quadrupled twice thrice
third thirds quarter quarters fourth fourths fifth fifths sixth sixths seventh sevenths eighth eighths ninth ninths tenth tenths
zero one two three four five six seven eight nine ten tens eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen
twenty thirty forty fifty sixty seventy eighty ninety hundred hundreds dozen score gross myriad myriads th st nd rd
sqrt sin cos tan log exp infinity infinite pi alpha beta gamma delta epsilon zeta eta theta iota kappa lambda sigma omega
wrong wrongly false falsely true incorrect incorrectly never none nothing either neither nor cannot maybe possibly perhaps probably
hopefully approximately roughly about nearly almost guess think suppose excluded rejected removed discarded ignored omitted invalid
extraneous impossible
"""
_NO_UNIT = frozenset(_NO_UNIT_WORDS.split())
_NUMERAL = re.compile(  # "sixteenths" and "millions" belong to the number
    r"(?:eleven|twelf|(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twent|thirt|fort|fift|sixt|sevent|eight|ninet)ie|hundred"
    r"|thousand|lakh|crore|[a-z]*illion)(?:th)?s?"
)
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "quadrillion": 10**15}
_SCALES |= {"lakh": 10**5, "crore": 10**7, "dozen": 12}
_SCALED = re.compile(rf"(?P<core>.*[0-9}}])\s+(?P<scale>(?i:{'|'.join(_SCALES)}))s?(?P<rest>\s.*)?", re.DOTALL)
_SCALE_IN_TEXT = re.compile(rf"\\text\s*\{{\s*((?i:{'|'.join(_SCALES)})s?(?:\s[^{{}}]*)?)\}}")
_EXPONENT = r"(?:\s*\^\s*(?:\{\s*-?[0-9]\s*\}|-?[0-9]))?"
_WORD = rf"(?:\\text\s*\{{[^{{}}]*\}}|[A-Za-zµμΩ]+){_EXPONENT}"
_IN_TEXT = re.compile(rf"[\s{THIN}]*/?[\s{THIN}]*(?:\\%|\^\s*\\circ|[A-Za-zµμΩ])(?:[A-Za-zµμΩ\s{THIN}.'/-]|\\cdot|\^\s*-?[0-9])*")
_UNIT = re.compile(
    rf"(?P<core>(?:(?!\\text).)*?(?:[0-9)}}$]|\\pi))(?P<space>[\s{THIN}]*)(?P<unit>{_WORD}(?:[\s{THIN}]*(?:/|\\cdot)?[\s{THIN}]*{_WORD}){{0,3}})",
    re.DOTALL,
)
_MARK = re.compile(
    rf"(?P<core>.*?)[\s{THIN}]*(?P<unit>\\%|_\s*(?:\{{\s*[0-9]+\s*\}}|[0-9])|[{''.join(_CURRENCIES)}]|\^\s*(?:\\circ|\{{\s*\\circ\s*\}})[\s{THIN}]*(?:\\text\s*\{{\s*[CFK]\s*\}}|\{{?[CFK]\}}?)?)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Number:
    """An exact value. Example: "0.50" is Number(1/2, decimal=True): written with digits after a point."""

    value: Fraction
    decimal: bool = False
    floating: bool = False  # 15 digits or more, as a program prints a floating-point number


def number(text: str) -> Number | None:
    """The number that the whole text is, or None. Example: "1,200", "1 1/2", "\\frac{3}{2}" and "1.2e3" are numbers; "1,20" is not."""
    text = text.strip(" \t\r\n" + THIN)
    if len(text) > _LONGEST:
        return None
    if match := _DECIMAL.fullmatch(text):
        digits = re.sub(rf"[,{THIN}{_APOSTROPHES}]", "", match["value"])
        exponent = int(match["e"] or match["p"] or match["q"] or 0)
        value = Fraction(digits) * Fraction(10) ** exponent
        return Number(_signed(match, value), "." in digits or exponent < 0, len(digits.replace(".", "").strip("0")) >= 15 and "." in digits)
    if match := _TEN.fullmatch(text):
        return Number(_signed(match, Fraction(10) ** int(match[2] or match[3])))
    return _mixed(text) or _fraction(text)


def equal_numbers(one: Number, other: Number) -> bool:
    """Exactly, unless one is a decimal that stands for what no decimal is (0.333333 for 1/3), or was printed from floating point."""
    if one.value == other.value:
        return True
    if one.floating or other.floating:
        return near(one.value, other.value, _FLOATING)
    rounded = (one.decimal and not terminates(other.value)) or (other.decimal and not terminates(one.value))
    return rounded and near(one.value, other.value, APPROXIMATE)


def near(one: Fraction, other: Fraction, relative: Fraction) -> bool:
    return abs(one - other) <= relative * max(abs(one), abs(other))


def split_unit(text: str) -> tuple[str, str]:
    """The value and its unit ("" if none). Example: "5\\text{ cm}" -> ("5", "cm"); "2x" has no unit."""
    if match := _SCALED.fullmatch(_SCALE_IN_TEXT.sub(r" \1", text)):
        core, unit = split_unit(f"{match['core']} {(match['rest'] or '').strip()}".strip())
        scale = match["scale"].lower()
        return f"{core}\\times10^{{{len(str(_SCALES[scale])) - 1}}}" if scale != "dozen" else f"12\\cdot({core})", unit
    if match := _MONEY.fullmatch(text):
        core, unit = split_unit(match["core"])
        return match["sign"] + core, unit if unit not in ("", "dollar") else _CURRENCIES[match["money"]]
    if (match := _MARK.fullmatch(text)) and match["core"]:
        return match["core"].strip(), _mark(match["unit"])
    if (match := _UNIT.fullmatch(text)) and (named := _unit(match["unit"], match["space"])) is not None:
        return match["core"], named
    return text, ""


def _signed(match: re.Match[str], value: Fraction) -> Fraction:
    return -value if match["sign"] == "-" else value


def _fraction(text: str) -> Number | None:
    match = _FRACTION.fullmatch(text)
    if not match:
        return None
    over, under = (Fraction(part) for part in match.groups()[1:] if part is not None)
    return Number(_signed(match, over / under)) if under else None


def _mixed(text: str) -> Number | None:
    match = _MIXED.fullmatch(text)
    if not match:
        return None
    over, under = int(match["a"] or match["c"]), int(match["b"] or match["d"])
    return Number(_signed(match, int(match["whole"]) + Fraction(over, under))) if 0 < over < under else None


def terminates(value: Fraction) -> bool:
    """Whether it can be written as a decimal: no primes but 2 and 5 below the line."""
    return pow(10, value.denominator.bit_length(), value.denominator) == 0


def _mark(text: str) -> str:
    if text.startswith("_"):
        return "base " + text.strip("_{} ")
    if "circ" in text:
        return "°" + "".join(sign for sign in text.replace("circ", "").replace("text", "") if sign in "CFK")
    return _CURRENCIES.get(text, "%")


def same_unit(one: str, other: str) -> bool:
    """Whether they may be the same; "square units" name only a power. Example: ("^2", "cm^2"), but not ("^2", "^3") or ("cm", "m")."""
    one, other = one.lstrip("?"), other.lstrip("?")
    if one.startswith("^") or other.startswith("^"):
        return one.partition("^")[2] == other.partition("^")[2]
    return one == other


def _unit(text: str, space: str) -> str | None:
    """Its one name, or None if the text may be variables: "x", "xyz" and "sin" are no units, "cm" and " apples" are."""
    bare = re.sub(r"\\text\s*\{[^{}]*\}", "", text)
    words = re.findall(r"(?<!\\)[A-Za-zµμΩ]+", bare)
    if any(not _is_unit(word, space, alone=len(words) == 1 and "\\text" not in text) for word in words) or not _only_units(text):
        return None
    named = _powers(re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", text).replace("{", "").replace("}", "").replace("\\cdot", " "))
    found = re.sub(r"[A-Za-zµμΩ]+", lambda word: _named(word[0]), re.sub(r"\s*([/^])\s*", r"\1", named)).strip()
    if words == [found] and len(found) == 1 and "\\text" not in text and len(words[0]) == 1:
        return f"?{found}"  # a letter alone may be a variable as well
    return found


def _only_units(text: str) -> bool:
    """Whether what stands in \\text can be units: " cm", but not ", 8", " (rejected)" or " sixteenths"."""
    inside = re.findall(r"\\text\s*\{([^{}]*)\}", text)
    if not all(map(_IN_TEXT.fullmatch, inside)) or (inside and inside[0].strip().startswith("/")):
        return False
    return not any(_is_no_unit(word) for word in re.findall("[A-Za-z]+", text.replace("\\text", " ").replace("\\cdot", " ")))


def _is_no_unit(word: str) -> bool:
    return word.casefold() in _NO_UNIT or _NUMERAL.fullmatch(word.casefold()) is not None


def _powers(text: str) -> str:
    """ "square cm per s" as "cm^2/s"."""
    spaced = " ".join(text.split()).replace(" per ", "/")
    return re.sub(r"\b(?:square|sq)\.? ([A-Za-z]+)", r"\1^2", re.sub(r"\bcubic ([A-Za-z]+)", r"\1^3", spaced))


def _is_unit(word: str, space: str, alone: bool) -> bool:
    if word in _SYMBOLS or word.casefold() in _UNITS or (word in UNIT_LETTERS and (space or not alone)):
        return True
    natural = len(word) >= 4 and re.search("[aeiou]", word.casefold()) is not None
    return bool(space) and not _is_no_unit(word) and (natural or word.casefold() in _SHORT or word in ("per", "sq", "of"))


def _named(word: str) -> str:
    low = word.casefold()
    for form in (low, low.removesuffix("s"), low.removesuffix("es")):
        if len(word) > 1 and form in _UNITS:
            return _UNITS[form]
    return word if len(word) <= 3 else low.removesuffix("s")
