"""Speech to text: a streaming CTC phone model, decoded with the bot's grammar."""
