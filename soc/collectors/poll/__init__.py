"""Sources that are asked instead of sending by themselves: `fetch(cursor) -> Page`, and who keeps the cursor.

`page` is the interface, `place` the durable cursor, `runner` asks and queues; `web` and `items` are what drivers over
HTTP share, `secrets` reads what soc.toml only refers to.
"""
