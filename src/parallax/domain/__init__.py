"""The pure middle: money, quotes, orders, facts and the steps between states. No I/O, no clock, no asyncio."""
