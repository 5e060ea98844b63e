"""Words that names and values are made of: what is nothing, what is an outcome, who rows are of, how dates are spelt."""

# fmt: off
# spellings of nothing, in lower case
NULL_WORDS = (
    "", "#n/a", "(null)", "-", "--", ".", "<na>", "?", "\\n", "k.a.", "missing", "n.a.", "n/a", "na", "nan", "nil", "none",
    "null",
)
# spellings of days, clocks behind them, both without a mark between, and months
DATES = (
    "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y", "%d-%b-%Y", "%d %b %Y", "%b %d, %Y", "%d.%m.%y",
    "%m/%d/%y", "%d/%m/%y", "%Y.%m.%d", "%d-%b-%y", "%d %B %Y", "%B %d, %Y", "%d-%m-%y",
)
CLOCKS = (
    " %H:%M:%S.%f", " %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p", "T%H:%M:%S", "",
)
COMPACT = (
    "%Y%m%d%H%M%S", "%Y%m%dT%H%M%S", "%Y%m%dT%H%M%SZ", "%Y%m%d",
)
MONTHS = (
    "%Y-%m", "%Y/%m", "%m/%Y", "%b %Y", "%B %Y", "%b-%y",
)
# words of SQL and YAML, and the names that a training set gives itself
TAKEN = (
    "all", "and", "any", "array", "as", "as_of", "asc", "at", "between", "by", "case", "cast", "check", "column", "constraint",
    "create", "cross", "cube", "current", "date", "day", "dec", "decimal", "default", "desc", "distinct", "double", "drop",
    "else", "end", "escape", "event_time", "except", "exists", "false", "fetch", "filter", "float", "for", "foreign", "from",
    "full", "function", "group", "grouping", "having", "hour", "if", "ilike", "in", "index", "inner", "insert", "int", "integer",
    "intersect", "interval", "into", "is", "join", "key", "label", "lateral", "left", "like", "limit", "map", "merge", "minus",
    "minute", "model_version", "month", "n", "nan", "natural", "no", "not", "null", "number", "numeric", "object_name", "off",
    "offset", "on", "or", "order", "outer", "over", "partition", "percent", "position", "primary", "qualify", "range", "rank",
    "real", "references", "right", "rollup", "row", "row_id", "row_no", "row_number", "rows", "sample", "score", "second",
    "select", "set", "similar", "some", "spine", "struct", "table", "then", "time", "timestamp", "to", "true", "type", "union",
    "unique", "unnest", "update", "user", "using", "value", "values", "when", "where", "window", "with", "within", "y", "year",
    "yes",
)
# whose rows they may be, the likeliest first
PERSONS = (
    "customer", "cust", "client", "user", "member", "account", "patient", "subscriber", "player", "passenger", "buyer", "visitor",
    "person", "employee", "household",
)
THINGS = (
    "device", "sensor", "machine", "unit", "engine", "vehicle", "car", "meter", "turbine", "host", "server", "instance", "symbol",
    "ticker", "asset", "bike",
)
PLACES = (
    "store", "shop", "station", "site", "branch", "location", "warehouse", "room", "region", "city", "zone", "country", "state",
)
GOODS = (
    "product", "item", "sku", "article", "stock", "song", "movie", "channel", "campaign", "category", "series", "family", "name",
    "metric",
)
ENTITIES = (PERSONS, THINGS, PLACES, GOODS)
# names of what people predict, the plainest first; EVENTS of them are things that happen
OUTCOMES = (
    "target", "label", "outcome", "churn", "churned", "churn_flag", "exited", "attrition", "default", "defaulted",
    "default_payment_next_month", "fraud", "is_fraud", "isfraud", "survived", "diagnosis", "converted", "conversion", "clicked",
    "purchased", "bought", "subscribed", "deposit", "cancelled", "canceled", "is_canceled", "failure", "failed",
    "machine_failure", "escalated", "gekundigt", "kundigung", "storniert", "ausfall", "defekt", "abwanderung", "occupancy",
    "occupied", "spam", "is_spam", "approved", "loan_status", "species", "variety", "class", "y", "response", "quality", "income",
    "salary", "gehalt", "price", "preis", "sale_price", "medv", "charges", "mpg", "tip", "progression", "digit", "resultado",
    "ergebnis",
)
EVENTS = OUTCOMES[:42]
# values that say yes, in lower case
POSITIVE = (
    "yes", "y", "true", "t", "1", "positive", "pos", "churned", "churn", "fraud", "ja", "oui", "si", "sí", "fail", "failed",
    "failure", "spam", "default", "bad", "m", "malignant", "left",
)
# fmt: on
