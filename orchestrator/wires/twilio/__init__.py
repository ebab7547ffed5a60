"""Twilio Media Streams: its messages, its signature, and the wire that they make."""
