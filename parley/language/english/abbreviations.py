"""What abbreviations and units stand for, in English. Tables only; `normalise` says when they apply."""

from __future__ import annotations

from parley.language.english import symbols
from parley.language.english.spoken_numbers import MONTHS

DAYS: tuple[str, ...] = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

TITLES = {
    "mr": "mister", "mrs": "missus", "ms": "miz", "prof": "professor", "rev": "reverend", "gen": "general",
    "lt": "lieutenant", "capt": "captain", "gov": "governor", "sen": "senator", "sgt": "sergeant", "col": "colonel",
    "hon": "honorable", "pres": "president", "messrs": "messieurs", "fr": "father",
}  # fmt: skip
"""Before a name, with or without a dot; the dot ends no sentence. `Dr` and `St` depend on their place."""

DOTTED = {
    "e.g": "for example", "i.e": "that is", "a.k.a": "also known as", "etc": "et cetera", "vs": "versus",
    "approx": "approximately", "dept": "department", "apt": "apartment", "ave": "avenue", "rd": "road",
    "blvd": "boulevard", "sq": "square", "mt": "mount", "jr": "junior", "sr": "senior", "inc": "incorporated",
    "ltd": "limited", "corp": "corporation", "co": "company", "max": "maximum", "min": "minimum", "misc":
    "miscellaneous", "incl": "including", "excl": "excluding", "est": "established", "ext": "extension",
    "tel": "telephone", "acct": "account", "appt": "appointment", "govt": "government", "hrs": "hours",
    "fig": "figure", "vol": "volume", "ref": "reference", "qty": "quantity", "temp": "temperature", "ste": "suite",
    "bldg": "building", "attn": "attention", "hwy": "highway", "pkwy": "parkway", "ln": "lane", "ct": "court",
    "pl": "place", "univ": "university", "assn": "association", "mgr": "manager", "asst": "assistant", "exp": "expires",
    "ph.d": "P H D", "p.s": "P S", "n.b": "N B", "r.s.v.p": "R S V P", "cf": "compare", "ca": "circa",
    "addr": "address", "tbsp": "tablespoon", "tsp": "teaspoon", "cont": "continued", "pkg": "package", "gal": "gallon",
}  # fmt: skip
"""Only with their dot: without it most of them are, or could be, other words."""
BEFORE_NUMBER = {
    "no": "number", "nos": "numbers", "p": "page", "pp": "pages", "ch": "chapter", "art": "article", "sec": "section",
    "rm": "room", "fl": "floor", "para": "paragraph", "tbl": "table", "v": "version",
}  # fmt: skip
"""Only with a dot and a number after them."""
PLACE_BEFORE_NUMBER = {"apt": "apartment", "ste": "suite", "rm": "room", "bldg": "building", "ext": "extension"}
"""With a capital and a number after them, without a dot too."""
STREETS = {
    "ave": "avenue",
    "rd": "road",
    "blvd": "boulevard",
    "ln": "lane",
    "hwy": "highway",
    "pkwy": "parkway",
    "ct": "court",
}
"""After a name or an ordinal, without a dot too."""
BEFORE_NAME = {"mt": "mount", "ft": "fort"}
"""With a dot and a name after them; `Ft.` after a figure is feet."""
COMPASS = {"n": "north", "s": "south", "e": "east", "w": "west"}
"""A single capital with a dot between a house's number and a name: "12 N. Main St."."""
BARE = {
    "etc": "et cetera", "vs": "versus", "ok": "okay", "ext": "extension", "24/7": "twenty four seven",
    "50/50": "fifty fifty", "w/o": "without", "w/": "with", "c/o": "care of", "b/c": "because", "n/a": "N A",
    "a/c": "account", "wi-fi": "wi fi", "401k": "four oh one K", "401(k)": "four oh one K",
    "km/h": "kilometers per hour", "rx": "R X", "phd": "P H D", "iphone": "I phone", "ipad": "I pad", "ios": "I O S",
    "esim": "E sim", "ebook": "E book", "youtube": "you tube", "whatsapp": "whats app", "paypal": "pay pal",
    "gmail": "G mail", "c++": "C plus plus", "mp3": "M P three", "mp4": "M P four", "gmbh": "G M B H",
    "wwii": "world war two", "wwi": "world war one",
}  # fmt: skip
"""Without a dot too."""

MONTH_SHORT = {m[:3].lower(): m.lower() for m in MONTHS} | {"sept": "september"}
DAY_SHORT = {d[:3].lower(): d.lower() for d in DAYS} | {
    "tues": "tuesday", "weds": "wednesday", "thur": "thursday", "thurs": "thursday",
}  # fmt: skip

UNITS: dict[str, tuple[str, str]] = {
    "%": ("percent", "percent"), "‰": ("per thousand", "per thousand"), "°": ("degree", "degrees"),
    "°c": ("degree celsius", "degrees celsius"), "°f": ("degree fahrenheit", "degrees fahrenheit"),
    "¢": ("cent", "cents"), "µm": ("micrometer", "micrometers"), "mm": ("millimeter", "millimeters"),
    "cm": ("centimeter", "centimeters"), "m": ("meter", "meters"), "km": ("kilometer", "kilometers"),
    "in": ("inch", "inches"), "ft": ("foot", "feet"), "yd": ("yard", "yards"), "yds": ("yard", "yards"),
    "mi": ("mile", "miles"), "µg": ("microgram", "micrograms"), "mcg": ("microgram", "micrograms"),
    "mg": ("milligram", "milligrams"), "g": ("gram", "grams"), "kg": ("kilogram", "kilograms"),
    "oz": ("ounce", "ounces"), "lb": ("pound", "pounds"), "lbs": ("pound", "pounds"), "gal": ("gallon", "gallons"),
    "qt": ("quart", "quarts"), "pt": ("pint", "pints"), "tbsp": ("tablespoon", "tablespoons"),
    "tsp": ("teaspoon", "teaspoons"), "µl": ("microliter", "microliters"), "ml": ("milliliter", "milliliters"),
    "cl": ("centiliter", "centiliters"), "dl": ("deciliter", "deciliters"), "l": ("liter", "liters"),
    "mph": ("mile per hour", "miles per hour"), "kph": ("kilometer per hour", "kilometers per hour"),
    "rpm": ("revolution per minute", "revolutions per minute"), "bpm": ("beat per minute", "beats per minute"),
    "µs": ("microsecond", "microseconds"), "ms": ("millisecond", "milliseconds"), "s": ("second", "seconds"),
    "sec": ("second", "seconds"), "secs": ("second", "seconds"), "min": ("minute", "minutes"),
    "mins": ("minute", "minutes"), "h": ("hour", "hours"), "hr": ("hour", "hours"), "hrs": ("hour", "hours"),
    "d": ("day", "days"), "wk": ("week", "weeks"), "wks": ("week", "weeks"), "mo": ("month", "months"),
    "mos": ("month", "months"), "mth": ("month", "months"), "yr": ("year", "years"), "yrs": ("year", "years"),
    "kb": ("kilobyte", "kilobytes"), "mb": ("megabyte", "megabytes"), "gb": ("gigabyte", "gigabytes"),
    "tb": ("terabyte", "terabytes"), "kbps": ("kilobit per second", "kilobits per second"),
    "mbps": ("megabit per second", "megabits per second"), "gbps": ("gigabit per second", "gigabits per second"),
    "mb/s": ("megabyte per second", "megabytes per second"), "gb/s": ("gigabyte per second", "gigabytes per second"),
    "hz": ("hertz", "hertz"), "khz": ("kilohertz", "kilohertz"), "mhz": ("megahertz", "megahertz"),
    "ghz": ("gigahertz", "gigahertz"), "kw": ("kilowatt", "kilowatts"), "mw": ("megawatt", "megawatts"),
    "kwh": ("kilowatt hour", "kilowatt hours"), "mwh": ("megawatt hour", "megawatt hours"),
    "v": ("volt", "volts"), "w": ("watt", "watts"), "ma": ("milliamp", "milliamps"),
    "mah": ("milliamp hour", "milliamp hours"), "ω": ("ohm", "ohms"), "pa": ("pascal", "pascals"),
    "hpa": ("hectopascal", "hectopascals"), "kpa": ("kilopascal", "kilopascals"),
    "psi": ("pound per square inch", "pounds per square inch"), "db": ("decibel", "decibels"),
    "mmhg": ("millimeter of mercury", "millimeters of mercury"), "cc": ("C C", "C C"), "iu": ("I U", "I U"),
    "kcal": ("kilocalorie", "kilocalories"), "cal": ("calorie", "calories"), "kj": ("kilojoule", "kilojoules"),
    "mmol/l": ("millimole per liter", "millimoles per liter"), "ha": ("hectare", "hectares"),
    "sqft": ("square foot", "square feet"), "px": ("pixel", "pixels"), "fps": ("frame per second", "frames per second"),
    "usd": ("U S dollar", "U S dollars"), "eur": ("euro", "euros"), "gbp": ("pound", "pounds"),
}  # fmt: skip
"""One and many, after a number."""


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


CODE_WORDS = _words(
    "account card code pin digits ending extension flight number passcode password postcode reference room ticket "
    "tracking zip a/c acct boeing airbus meter policy claim booking confirmation license licence"
)
"""After these, perhaps with "is" or "in" between, three figures and more are read one by one."""
YEAR_WORDS = _words("in since year circa during")
NEAR_YEAR_WORDS = _words("by from of until till before after to and")
"""Before a year of the last or this century."""
FUNCTION_WORDS = _words(
    "a an and as at but by for he her his i in is it my of on or our she so that the their there they this to was "
    "we were when with you"
)
"""A year is followed by one of these, a number by what it counts."""
DATE_WORDS = _words("on by until till since from before after due")
"""After these 1/2 is a day."""
ACRONYMS = _words(
    "PIN SIM ZIP RAM GIF LAN WAN NASA NATO COVID UNICEF UNESCO AIDS OPEC FIFA UEFA IKEA LASER RADAR SWAT FEMA "
    "NASDAQ SARS MERS TESLA VISA ASDA TESCO LEGO OTTO SEPA YELP"
)
"""Said as words."""
SPELLED = _words(
    "ATM APR API BIC CEO CFO CTO CIA CVV DIY DOB DVD EIN EU ETA FAQ FBI GPS GP HIV HMO IBAN ID IOU IRA IRS ISBN "
    "LED MRI NHS OTP PDF PO PPO QR RSVP SKU SMS SSN SUV TV UAE UFO UK UN URL USA USB VAT VIN VIP DMV AAA EMI ETF "
    "AC AI HR PR"
)
"""Spelled even in a sentence of capitals, where other short words are words."""
SHOUTED = _words(
    "ALL AND ANY ARE AS AT BAD BE BEEN BIG BUSY BUT BUY BY CALL CAN CARD CASH CODE COLD COME DAY DAYS DEAR DO "
    "DONE DOWN DUE EACH EASY ELSE END EXIT FAST FEE FEES FILL FIND FIRE FOR FREE FROM FULL GET GIVE GO GOOD HAS "
    "HAVE HE HELP HER HERE HI HIGH HIM HIS HOLD HOME HOT HOUR HOW I IF IN INFO INTO IS IT ITS JOIN JUST KEEP KEY "
    "LAST LATE LEFT LESS LINE LIST LIVE LONG LOST LOW MAIN MAKE MAY ME MENU MORE MOST MUST MY NAME NEAR NEED "
    "NEVER NEW NEWS NEXT NO NONE NOON NOT NOTE NOW OF OFF OLD ON ONCE ONE ONLY OPEN OR OTHER OUR OUT OVER OWN "
    "PAID PAST PAY PER PICK PLAN PLAY PLUS POST PULL PUSH PUT READ REAL RED RISK ROOM RUN SAFE SALE SAME SAVE SAY "
    "SEE SELL SEND SENT SET SHE SHUT SIGN SIZE SLOW SO SOLD SOON SORT STAY STEP STOP SUM SURE TAKE TALK TAP TAX "
    "TELL TEN TEST TEXT THAN THAT THE THEM THEN THEY THIS TIME TIP TO TOO TOP TRY TURN TWO TYPE UP URGENT USE "
    "USED VERY VIA VISA WAIT WALK WAS WAY WE WEEK WELL WERE WHAT WHEN WHY WIN WILL WITH WORK YEAR YES YET YOU "
    "YOUR ZERO ZONE"
)
"""Short words that capitals only stress; other runs of two to four capitals are spelled."""
EXPIRY_WORDS = _words("exp expires expire expiry expiration expiring valid thru")
"""After these 09/26 is a month and a year."""
SEAT_WORDS = _words(
    "seat seats row gate room bus apartment apt apt. unit terminal platform flat section zone block class form "
    "bay floor suite ste ste. door table route line track stand level aisle locker ward bed bay house lot plot "
    "building hall exit flight train tram stop group team option plan model type part page item step version "
    "grade size number no."
)
"""What stands before a figure with a letter of its own: "seat 12L" is no volume."""
MINUTES_AFTER = _words("remaining left ago later late delay delayed wait early until before past hold call more break")
MINUTES_BEFORE = _words("in every for wait within takes took about another only after last next or")
"""Beside these "5m" is minutes; elsewhere meters."""
COUNTED = _words(
    "users people followers views subscribers customers miles dollars euros pounds rows jobs likes units hits"
)
"""After these's number a capital K, M or B counts them: "5M users"."""
DIAL_WORDS = _words("call dial text phone ring telephone tel fax sms press ring")
"""After these a short number is a number to dial, unless it counts what follows."""
AFTER_DIALLING = _words(
    "now immediately today if for or from please first instead again when any anytime straight right"
)
"""What may follow a number to dial that counts nothing."""


COUNTED_IN_ROMAN = _words(
    "War Chapter Part Section Type Phase Volume Act Scene Class Grade Title Article Book Level Stage Tier Mark "
    "Bowl Appendix Figure Table Unit Category Step Schedule Annex Group Factor Version Round Episode Season "
    "Module Apollo Division Clause Paragraph Option Exhibit Lesson"
)
"""What Roman numerals count: a single I, V or X is a number after these."""
RULERS = _words("King Queen Pope Prince Emperor Empress Tsar Kaiser Sultan Shah")
NAMES_OF_RULERS = _words(
    "Henry Elizabeth Charles Louis George Edward James William Richard Philip Paul Benedict Francis Catherine "
    "Peter Nicholas Alexander Mary Napoleon Frederick Leo Pius Gregory Innocent Clement Ferdinand Alfonso Carlos "
    "Juan Olav Haakon Harald Christian Margrethe Gustav Carl Felipe Albert Leopold Rainier Ramses Ivan Stephen"
)
"""After these a Roman numeral is an ordinal: "Henry the eighth"."""
AFTER_IT = _words("dept department support desk team services service staff helpdesk")
"""Before these IT is no pronoun."""
SEATS = _words("seat seats row gate room apartment apt apt.")
"""After these a small letter is one too."""


def vocabulary() -> list[str]:
    """Every word that reading may say beyond those written: a voice's lexicon is to hold them."""
    values = [*TITLES.values(), *DOTTED.values(), *BEFORE_NUMBER.values(), *BARE.values(), *MONTH_SHORT.values()]
    values += [*DAY_SHORT.values(), *(word for pair in UNITS.values() for word in pair)]
    values += ["doctor", "drive", "saint", "street", "at", "dot", "slash", "dash", "underscore", "plus", "minus", "per"]
    values += ["thousand million billion trillion", "dollar dollars pound pounds euro euros penny pence cent cents"]
    values += [word for called in symbols.NAMES.values() for word in called.split()]
    values += ["question mark exclamation comma colon about hashtag sharp squared cubed extension"]
    values += ["half halves quarter quarters third thirds fifth fifths midnight o'clock oh hundred point to by times"]
    return sorted({word for value in values for word in value.split() if not (len(word) == 1 and word.isupper())})
