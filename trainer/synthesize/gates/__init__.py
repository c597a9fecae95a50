"""Quality gates: each lets a draft pass or says why not, and what is kept out is kept with that reason.

A draft meets them in this order; the funnel of the report counts them by these names.
"""

# The last two look at the data set so far, the others at one draft.
GATES = ("reply", "schema", "length", "repetition", "language", "wording", "leakage", "round-trip", "negatives", "hardness",
         "duplicate", "uniqueness")
