"""Golden vectors of docs/shared-randomness.md, written from that page alone with the standard library.

Prints the content of packages/kernels/src/shared-randomness.golden.json:
    python3 tools/golden/shared_randomness.py > packages/kernels/src/shared-randomness.golden.json
"""

import functools
import hashlib
import json
import struct

MASK = 0xFFFFFFFF
COUNT = 64
BLOCK = 4096
INT32_MIN = -(2**31)
INT32_MAX = 2**31 - 1

# Random123: counter, key, output.
KNOWN_ANSWERS = [
    ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((MASK,) * 4, (MASK,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def seed_key(seed):
    return hashlib.sha256(b"rondo-seed/1\0" + seed.encode("utf-8")).digest()


def child_key(parent, element):
    if isinstance(element, str):
        text = element.encode("utf-8")
        encoded = b"\x01" + struct.pack("<I", len(text)) + text
    else:
        assert 0 <= element < 2**53
        encoded = b"\x02" + struct.pack("<Q", element)
    return hashlib.sha256(b"rondo-path/1\0" + parent + encoded).digest()


def philox4x32_10(counter, key):
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0 = 0xD2511F53 * c0
        p1 = 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & MASK, (p0 >> 32) ^ c3 ^ k1, p0 & MASK
        k0 = (k0 + 0x9E3779B9) & MASK
        k1 = (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


@functools.lru_cache(maxsize=None)
def philox_block(key, b):
    n0, n1, n2, n3 = struct.unpack("<4I", key[:16])
    return philox4x32_10((b & MASK, b >> 32, n2, n3), (n0, n1))


def word(key, i):
    assert 0 <= i < 2**53
    return philox_block(key, i // 4)[i % 4]


def bit(key, first, i):
    """Bit i of the stream that begins at the word `first`."""
    return word(key, first + i // 32) >> (i % 32) & 1


def permuted(key, block, r):
    """pi(r); key is that of the group's node."""
    x = r
    for i in range(6):
        q = word(key, 512 * block + 256 + i)
        x = (x * (2 * (q % 2**11) + 1) + q // 2**11) % 2**12
        x ^= x // 2**6
    return x


@functools.lru_cache(maxsize=None)
def group_key(node, group):
    return child_key(child_key(node, "noise/2"), group)


@functools.lru_cache(maxsize=None)
def member_key(node, k):
    return child_key(node, k)


def perturbation(node, kind, k, j):
    """z_k[j], +1 or -1, of the family (node, kind)."""
    assert 0 <= k < 2**32 and 0 <= j < 2**53
    if kind == "noise/1":
        plus = bit(member_key(node, k), 0, j)
    else:
        block, i = divmod(j, BLOCK)
        group, r = divmod(k, BLOCK)
        key = group_key(node, group)
        parity = bin(permuted(key, block, r) & i).count("1") % 2
        plus = bit(key, 512 * block, i) ^ bit(key, 512 * block + 128, r) ^ parity
    return 1 if plus else -1


def ledger_sum(node, kind, entries, j):
    assert all(INT32_MIN <= value <= INT32_MAX for _, value in entries)
    return sum(value * perturbation(node, kind, k, j) for k, value in entries)


def attempt(key, m, t):
    p = 2 * m + t * 2**33
    return (word(key, p) % 2**21) * 2**32 + word(key, p + 1)


def below(key, m, bound):
    t = 0
    while attempt(key, m, t) >= 2**53 - 2**53 % bound:
        t += 1
    return attempt(key, m, t) % bound


def permutation(key, n):
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = below(key, i, i + 1)
        order[i], order[j] = order[j], order[i]
    return order


def weighted(key, m, weights):
    ticket = below(key, m, sum(weights))
    running = 0
    for position, weight in enumerate(weights):
        running += weight
        if running > ticket:
            return position
    raise AssertionError("the ticket is below the total")


def gaussian4(key, m):
    """The integer above the constant divisor."""
    return sum(word(key, m).to_bytes(4, "little")) - 510


def case(seed, path, word_offsets, signs=(), permutations=(), ledgers=()):
    """One case. signs: (k, from); permutations: (group, block); ledgers: (entries, from). Signs and ledgers are written for both kinds."""
    key = seed_key(seed)
    for element in path:
        key = child_key(key, element)
    weights = [0, 3, 1, 0, 2**40, 2**41, 7, 0]
    kinds = ("noise/1", "noise/2")
    return {
        "seed": seed,
        "path": path,
        "key": key.hex(),
        "words": [{"from": o, "values": [word(key, o + i) for i in range(COUNT)]} for o in word_offsets],
        "signs": [
            {"kind": z, "k": k, "from": o, "values": "".join("+" if perturbation(key, z, k, o + i) > 0 else "-" for i in range(COUNT))}
            for z in kinds
            for k, o in signs
        ],
        "permutations": [
            {"group": g, "block": b, "values": [permuted(group_key(key, g), b, r) for r in range(COUNT)]} for g, b in permutations
        ],
        "ledgers": [
            {"kind": z, "entries": entries, "from": o, "sums": [ledger_sum(key, z, entries, o + i) for i in range(COUNT)]}
            for z in kinds
            for entries, o in ledgers
        ],
        "uniform01": [attempt(key, m, 0) for m in range(COUNT)],
        # The bound 2^52 + 1 makes nearly every other attempt fail, so the second and later ones are tested too.
        "below": [{"bound": b, "values": [below(key, m, b) for m in range(COUNT)]} for b in (1, 6, 2**32 + 15, 2**52 + 1, 2**53)],
        "permutation": permutation(key, COUNT),
        "weighted": {"weights": weights, "values": [weighted(key, m, weights) for m in range(COUNT)]},
        "gaussian4": [gaussian4(key, m) for m in range(COUNT)],
    }


def rows(value, indent=0):
    """JSON with one line for each field of a case and for each object of a list: a changed value is a changed line."""
    tabs = "\t" * indent
    if isinstance(value, list) and value and isinstance(value[0], dict):
        inner = ",\n".join(f"{tabs}\t{rows(one, indent + 1) if indent == 1 else json.dumps(one, separators=(',', ':'))}" for one in value)
        return f"[\n{inner}\n{tabs}]"
    if isinstance(value, dict) and indent <= 2:
        inner = ",\n".join(f"{tabs}\t{json.dumps(name)}: {rows(one, indent + 1)}" for name, one in value.items())
        return f"{{\n{inner}\n{tabs}}}"
    return json.dumps(value, separators=(",", ":"))


def main():
    for counter, key, output in KNOWN_ANSWERS:
        assert philox4x32_10(counter, key) == output
    # Members of the first group, its last, the second's first, a far one, the last one of all.
    members = (0, 1, 4095, 4096, 70000, 2**32 - 1)
    # A block border; more than 32 bits; the border of word 2^34, where the counter's second word begins, for each kind; the end.
    borders = (4090, 2**32 + 17, 2**37 - 30, 2**39 - 31, 2**45 + 31, 2**53 - 64)
    five = [[0, 3], [1, -7], [2, 0], [3, INT32_MAX], [4, INT32_MIN]]
    # Every other sum is zero, which is +0.
    cancelling = [[0, 5], [1, -5]]
    # All of one sign, so the sums leave 32 bits far behind.
    extremes = [[k, INT32_MIN] for k in range(8)] + [[k, INT32_MAX] for k in range(4090, 4100)] + [[8191, INT32_MIN]]
    few = [[0, -1], [1, 5], [4095, 1000000], [4096, INT32_MIN], [4097, -3], [8192, INT32_MAX], [12289, 77], [70000, -123456]]
    # Many entries of one group, which a fast transform would take, and some of the next.
    many = [[k, (k * 2654435761 + 12345) % 2**32 - 2**31] for k in range(3900, 4130)]
    cases = [
        case("", [], [0, 1, 2**32 - 32], [(0, 0), (2, 1), (4095, 4090)], [(0, 0), (0, 1)], [([], 0), (five, 0), (cancelling, 0)]),
        case(
            "rondo",
            ["z", 0],
            [0, 3, 2**32 + 2],
            [(k, o) for k in members for o in (0, 5) + borders],
            [(0, 0), (0, 1), (1, 0), (17, 3), (1023, 2**25 - 1), (2**20 - 1, 2**32 + 5), (3, 2**41 - 1)],
            [(five, 5), (five, 4090), (extremes, 4090), (extremes, 2**53 - 64), (few, 0), (few, 4090), (few, 2**37 - 30)],
        ),
        # The member 0 of this node is the whole stream of the case above.
        case("rondo", ["z"], [7], [(0, 5)], [(0, 2)], [(many, 4090), (many, 12288)]),
        case(
            "rondo",
            ["z", 2**32 + 7, "layer"],
            [4 * 2**32 - 30, 2**40 + 1, 2**53 - 64],
            [(k, o) for k in (1, 70000) for o in (32 * 2**32 + 17, 2**50 - 9)],
            [(2, 2**33)],
            [(few, 2**50 - 9), (extremes, 2**39 - 31)],
        ),
        case(
            "gr\u00fc\u00dfe, \U0001f30d",
            ["1", 1, 2**53 - 1, ""],
            [0, 2**34 - 6],
            [(3, 2**45 + 31), (4096, 2**53 - 64)],
            [(70000, 2**40 - 1)],
            [(five, 2**45 + 31)],
        ),
    ]
    print(rows({"version": 2, "cases": cases}))


main()
