"""The link to the national cyber security centre: messages, mappings, the outbox driver and a reference receiver."""
