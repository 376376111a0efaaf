"""Copy depth: how long the longest earlier match of a byte's context is in a window, and how far back it is.

Where a window holds tokens that are not bytes, read token for byte.

Legend: y_0 .. y_{n-1} the bytes a model reads in a window; at i it predicts the byte that follows y_i.
d_i the largest L for which y_{i-L+1} .. y_i also ends at some j < i: y_{j-L+1} .. y_j, inside the window, which may
overlap it. The byte after the match, y_{j+1}, is seen too (j + 1 <= i), and that is what copying would predict. The
nearest such j gives the distance i - j.
"""

import numpy as np


def copy_depth(window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth d_i and distance i - j, both (n,) int64, of the byte that follows each of the bytes `window` (n,) integers.

    Where y_i did not occur before, depth and distance are 0. Our choice: the nearest of several longest matches.

    A suffix automaton (Blumer et al. 1985), extended by one byte at a time. A state represents all strings that end at
    the same places; `length` is its longest string, `link` the state of the longest suffix of it that ends at other
    places too. So d_i is the length of the link of the state of y_0 .. y_i. `latest` is where a state's strings ended
    last: y_i is a new end of every state on the path of links from y_0 .. y_i to the root, and of no other.

    Building takes O(n) steps; keeping `latest` exact takes one for each state on that path, at most d_i of them: a few
    a byte in text, O(n^2) together where a window is one short period over and over.
    """
    length, link, latest = [0], [-1], [-1]
    following: list[dict[int, int]] = [{}]  # of each state: byte -> state
    depth, distance = np.zeros((2, len(window)), dtype=np.int64)
    before = 0  # the state of y_0 .. y_{i-1}
    for i, byte in enumerate(window.tolist()):
        whole = len(length)  # the state of y_0 .. y_i
        length.append(i + 1)
        latest.append(i)
        following.append({})
        state = before
        while state >= 0 and byte not in following[state]:
            following[state][byte] = whole
            state = link[state]
        match = 0
        if state >= 0:
            match = following[state][byte]
            if length[match] != length[state] + 1:  # its longer strings do not end here: part the shorter ones from it
                longer, match = match, whole + 1
                length.append(length[state] + 1)
                link += [match, link[longer]]  # of the whole, of the part
                link[longer] = match
                latest.append(latest[longer])  # up to here they ended at the same places
                following.append(following[longer].copy())
                while state >= 0 and following[state].get(byte) == longer:
                    following[state][byte] = match
                    state = link[state]
            else:
                link.append(match)
        else:
            link.append(0)
        if match:
            depth[i], distance[i] = length[match], i - latest[match]
        while match:
            latest[match] = i
            match = link[match]
        before = whole
    return depth, distance
