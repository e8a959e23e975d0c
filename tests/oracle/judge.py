"""Judges evidence with implementations that Aegis did not write: sigstore, rfc8785, cryptography and the standard library.

    judge.py FOLDER

The folder has bundle.zip and trust.txt as `aegis-verify` takes them, and the answers of the API in receipts.json
(`GET /receipts/{execution_id}`, a list) and consistency.json (`GET /transparency/consistency`, a list). Prints what was
verified as one JSON object; the first thing that does not hold ends it with exit code 1.
"""

import base64
import hashlib
import json
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore._internal.rekor.checkpoint import SignedCheckpoint
from sigstore._internal.trust import Keyring
from sigstore.errors import VerificationError
from sigstore_models.common.v1 import PublicKey, PublicKeyDetails


class Wrong(Exception):
    """Something does not hold."""


def check(holds, what):
    if not holds:
        raise Wrong(what)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def node(left, right):
    return sha256(b"\x01", left, right)


def root_of(leaves):
    """RFC 9162 §2.1.1, as it is written there."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else sha256()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return node(root_of(leaves[:split]), root_of(leaves[split:]))


def is_consistent(old, old_root, new, new_root, proof):
    """RFC 9162 §2.1.4.2, step by step."""
    if old == 0 or old == new:
        return not proof and (old == 0 or old_root == new_root)
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node(c, fr), node(c, sr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return (fr, sr, sn) == (old_root, new_root, 0)


class Trust:
    """The log's verifier key: `<name>+<id>+<key>` of the line `log`."""

    def __init__(self, text):
        lines = [line.split() for line in text.splitlines()]
        vkey = next(words[1] for words in lines if words and words[0] == "log")
        self.name, key_id, key = vkey.split("+", 2)
        self.key_id = bytes.fromhex(key_id)
        raw = base64.b64decode(key)
        check(raw[0] == 1 and len(raw) == 33, "the verifier key is of another type")
        check(self.key_id == sha256(self.name.encode(), b"\n", raw)[:4], "the verifier key has another id")
        key = Ed25519PublicKey.from_public_bytes(raw[1:])
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        details = PublicKeyDetails.PKIX_ED25519
        self.keyring = Keyring([PublicKey(raw_bytes=base64.b64encode(der), key_details=details)])
        self.identities = {
            words[1]: Ed25519PublicKey.from_public_bytes(base64.b64decode(words[2]))
            for words in lines
            if words and words[0] == "control"
        }

    def open(self, note):
        """A checkpoint that the log's key has signed: its size and root."""
        signed = SignedCheckpoint.from_text(note)
        signed.signed_note.verify(self.keyring, self.key_id)
        check(signed.checkpoint.origin == self.name, "a checkpoint of another log")
        return signed.checkpoint.log_size, bytes.fromhex(signed.checkpoint.log_hash)


def included(body, index, size, hashes, root):
    """sigstore's check of an inclusion proof."""
    proof = SimpleNamespace(log_index=index, tree_size=size, hashes=hashes, root_hash=root)
    inner = SimpleNamespace(inclusion_proof=proof, canonicalized_body=body)
    verify_merkle_inclusion(SimpleNamespace(_inner=inner))


def signed_message(body, batch):
    """What the boot's key has signed for an entry."""
    leaf = sha256(b"\x00", body)
    if batch is None:
        return b"aegis-entry-sig/1\n" + leaf
    # The batch's root is only known by its path: RFC 9162 §2.1.3.2.
    index, last, root = batch["index"], batch["size"] - 1, leaf
    for sibling in map(base64.b64decode, batch["path"]):
        if index & 1 or index == last:
            root = node(sibling, root)
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            root = node(root, sibling)
        index, last = index >> 1, last >> 1
    check(last == 0, "a batch path of another length")
    included(body, batch["index"], batch["size"], list(map(base64.b64decode, batch["path"])), root)
    return b"aegis-batch-sig/1\n" + root


def raw_entry(line):
    """The entry's bytes exactly: the first member of its line."""
    check(line.startswith(b'{"entry":'), "a line that does not begin with its entry")
    text = line[len(b'{"entry":') :].decode()
    _, end = json.JSONDecoder().raw_decode(text)
    return text[:end].encode()


def entries(bundle, trust):
    """Every entry: canonical, signed by its boot, which its source's identity vouches for, after the one it names."""
    bodies, boots, identities = [], {}, dict(trust.identities)
    lines = (l for name in sorted(bundle.namelist()) if name.startswith("entries/") for l in bundle.read(name).splitlines())
    for line in lines:
        body, record = raw_entry(line), json.loads(line)
        entry, signature = record["entry"], record["signature"]
        check(record["index"] == len(bodies), f"entry {len(bodies)} is missing")
        check(rfc8785.dumps(entry) == body, f"entry {len(bodies)} is not canonical")
        source, boot = entry["source"], entry["boot"]
        place = f"{entry['tenant_id']}\n{source}\n{boot}"
        if entry["kind"] == "open":
            statement = f"aegis-boot/1\n{place}\n{entry['boot_key']}".encode()
            identities[source].verify(base64.b64decode(entry["identity_signature"]), statement)
            boots[boot] = [entry["boot_key"], 0, sha256(f"aegis-genesis/1\n{place}".encode())]
        key, seq, prev = boots[boot]
        check((entry["seq"], base64.b64decode(entry["prev"])) == (seq, prev), f"entry {len(bodies)} breaks its chain")
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(key))
        key.verify(base64.b64decode(signature["signature"]), signed_message(body, signature.get("batch")))
        if entry["kind"] == "enrol":
            check(source in trust.identities, "a stranger enrols sources")
            identities[entry["enrolled"]] = Ed25519PublicKey.from_public_bytes(base64.b64decode(entry["identity_key"]))
        boots[boot][1:] = [seq + 1, sha256(body)]
        bodies.append(body)
    return bodies


def judge(folder):
    trust = Trust((folder / "trust.txt").read_text())
    bundle = zipfile.ZipFile(folder / "bundle.zip")
    bodies = entries(bundle, trust)
    leaves = [sha256(b"\x00", body) for body in bodies]
    stored = b"".join(bundle.read(n) for n in sorted(bundle.namelist()) if n.startswith("leaves/"))
    check(stored == b"".join(leaves), "the leaf hashes are not those of the entries")
    notes = [json.loads(line)["note"] for line in bundle.read("checkpoints.ndjson").splitlines()]
    for size, root in map(trust.open, notes):
        check(root_of(leaves[:size]) == root, f"the checkpoint of {size} entries has another root")
    receipts = json.loads((folder / "receipts.json").read_text())
    for receipt in receipts:
        size, root = trust.open(receipt["checkpoint"])
        check(size == receipt["inclusion"]["tree_size"], "a proof for another checkpoint")
        body = rfc8785.dumps(receipt["receipt"]["entry"])
        hashes = list(map(base64.b64decode, receipt["inclusion"]["hashes"]))
        included(body, receipt["index"], size, hashes, root)
        check(bodies[receipt["index"]] == body, "the bundle has another entry there")
    proofs = json.loads((folder / "consistency.json").read_text())
    for proof in proofs:
        old, new = proof["from_size"], proof["to_size"]
        roots = [base64.b64decode(proof[name]) for name in ("from_root", "to_root")]
        check(roots == [root_of(leaves[:old]), root_of(leaves[:new])], "a root of another tree")
        path = list(map(base64.b64decode, proof["proof"]))
        check(is_consistent(old, roots[0], new, roots[1], path), f"sizes {old} and {new} are not consistent")
    return {"entries": len(bodies), "checkpoints": len(notes), "receipts": len(receipts), "consistency": len(proofs)}


if __name__ == "__main__":
    try:
        print(json.dumps(judge(Path(sys.argv[1]))))
    except (Wrong, VerificationError) as fault:
        sys.exit(f"wrong: {fault}")
    except InvalidSignature:
        sys.exit("wrong: a signature does not verify")
