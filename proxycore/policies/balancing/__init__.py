"""Which server of an upstream takes the next exchange.

A pick is in the path of each request, so nothing is scanned for it. What can be
known before is arranged when servers, weights or availability change (`rebuild`), and what load
changes is moved by one at each start and end of an exchange:

    round_robin           one period of nginx's smooth weighted order, laid out beforehand
    random, random_two    sums of weights, searched by bisection
    least_connections     a heap by load with one live entry for each server, put right when it comes to the top
    least_time            the same heap; load is the first byte's time, times what is in flight
    *_hash                a ring of points, walked from the key's place, with bounded load

Each policy is a `Tier`: a way to pick among servers of one rank. `Tiered` asks that of the primaries
first and that of the backups when no primary can take the exchange. A server that can't (tried,
full) is passed over; where a policy meets too many of those in a row, `OpenTier` hands out any other
from the list of those that aren't full, so a pick stays cheap also when nearly all are.
"""
