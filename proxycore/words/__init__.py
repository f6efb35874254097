"""The nouns that every other room speaks in: ids, effects, errors, notices, messages.

Nothing here decides anything. A word is defined once and imported from its own module.
"""
