"""RFC 3722 by Python's own tables: for every code point, alone and in a name, what it is mapped to and what is wrong with it."""

from functools import lru_cache
from stringprep import *
from unicodedata import ucd_3_2_0

PROHIBITED = (
    in_table_c11, in_table_c12, in_table_c21, in_table_c22, in_table_c3, in_table_c4,
    in_table_c5, in_table_c6, in_table_c7, in_table_c8, in_table_c9,
)  # fmt: skip
IN_ASCII = set('-.:abcdefghijklmnopqrstuvwxyz0123456789')


@lru_cache(64)
def mapping(c):
    if in_table_b1(c):
        return ''
    # Python makes table B.2 of str.lower(), which is of a newer Unicode: what 3.2 does not have is not in the table.
    to = map_table_b2(c)
    return c if in_table_a1(c) or any(map(in_table_a1, to)) else to


@lru_cache(64)
def is_prohibited(c):
    return c == '\u3002' or c < '\x80' and c not in IN_ASCII or any(table(c) for table in PROHIBITED)


is_right_to_left = lru_cache(64)(in_table_d1)
is_left_to_right = lru_cache(64)(in_table_d2)
is_unassigned = lru_cache(64)(in_table_a1)


def flaw(text):
    if any(map(is_prohibited, text)):
        return 'prohibited'
    if any(map(is_right_to_left, text)):
        if any(map(is_left_to_right, text)) or not (is_right_to_left(text[0]) and is_right_to_left(text[-1])):
            return 'bidirectional'
    return 'unassigned' if any(map(is_unassigned, text)) else ''


for code in range(0x110000):
    if 0xD800 <= code <= 0xDFFF:
        continue
    for text in chr(code), 'iqn.' + chr(code) + '1':
        name = ucd_3_2_0.normalize('NFKC', ''.join(map(mapping, text)))
        print('.'.join('%x' % ord(c) for c in name), flaw(name), sep=',')
