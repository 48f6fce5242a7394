"""Virtual time, inside: who waits for what, when the clock may jump, and the stand-ins that programs meet.

`world` holds the rule, `traffic` what is on its way between sockets, `kernel` what the system says of a thread;
`clocks`, `threads`, `polling`, `sockets` and `loops` are the stand-ins; `swap` puts them where the originals are held.
"""
