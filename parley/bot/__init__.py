"""Bots: one folder, one ``bot.yaml``, the single source of a bot's intents, slots, dialogue, replies and voice."""

from parley.bot.load import load_bot
from parley.bot.spec import Bot, DialogueSpec, IntentSpec, SlotSpec, TaskSpec, VoiceSpec

__all__ = ["Bot", "DialogueSpec", "IntentSpec", "SlotSpec", "TaskSpec", "VoiceSpec", "load_bot"]
