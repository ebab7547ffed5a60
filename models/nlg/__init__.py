"""NLG: a dialogue act and its slots, to the sentence the bot says. One request makes one reply."""
