"""Golden vectors of docs/shared-randomness.md, written from that page alone with the standard library.

Prints the content of packages/kernels/src/shared-randomness.golden.json:
    python3 tools/golden/shared_randomness.py > packages/kernels/src/shared-randomness.golden.json
"""

import hashlib
import json
import struct

MASK = 0xFFFFFFFF
COUNT = 64


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


def word(key, i):
    n0, n1, n2, n3 = struct.unpack("<4I", key[:16])
    block = i // 4
    return philox4x32_10((block & MASK, block >> 32, n2, n3), (n0, n1))[i % 4]


def sign(key, j):
    return 1 if word(key, j // 32) >> (j % 32) & 1 else -1


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


def case(seed, path, word_offsets, sign_offset):
    key = seed_key(seed)
    for element in path:
        key = child_key(key, element)
    weights = [0, 3, 1, 0, 2**40, 2**41, 7, 0]
    return {
        "seed": seed,
        "path": path,
        "key": key.hex(),
        "words": [{"from": o, "values": [word(key, o + i) for i in range(COUNT)]} for o in word_offsets],
        "signs": {"from": sign_offset, "values": "".join("+" if sign(key, sign_offset + i) > 0 else "-" for i in range(COUNT))},
        "uniform01": [attempt(key, m, 0) for m in range(COUNT)],
        # The last bound makes nearly every other attempt fail, so the second and later ones are tested too.
        "below": [{"bound": b, "values": [below(key, m, b) for m in range(COUNT)]} for b in (1, 6, 2**32 + 15, 2**52 + 1, 2**53)],
        "permutation": permutation(key, COUNT),
        "weighted": {"weights": weights, "values": [weighted(key, m, weights) for m in range(COUNT)]},
    }


def main():
    assert philox4x32_10((0, 0, 0, 0), (0, 0)) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    cases = [
        case("", [], [0, 1, 2**32 - 32], 0),
        case("rondo", ["z", 0], [0, 3, 2**32 + 2], 5),
        case("rondo", ["z", 2**32 + 7, "layer"], [4 * 2**32 - 30, 2**40 + 1, 2**53 - 64], 32 * 2**32 + 17),
        case("gr\u00fc\u00dfe, \U0001f30d", ["1", 1, 2**53 - 1, ""], [0, 2**34 - 6], 2**45 + 31),
    ]
    rows = []
    for one in cases:
        fields = ",\n".join(f"\t\t\t{json.dumps(name)}: {json.dumps(value)}" for name, value in one.items())
        rows.append(f"\t\t{{\n{fields}\n\t\t}}")
    print('{\n\t"version": 1,\n\t"cases": [\n' + ",\n".join(rows) + "\n\t]\n}")


main()
