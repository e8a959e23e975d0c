-- The tree's right edge beside the head: what the next append needs. NULL: computed anew from the entries.
ALTER TABLE ledger_heads ADD COLUMN edge BYTEA;

-- Full tiles of the tree (C2SP tlog-tiles): derived from the entries after commit, computed anew if lost.
CREATE TABLE ledger_tiles (
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    level     BIGINT NOT NULL,
    idx       BIGINT NOT NULL,
    hashes    BYTEA NOT NULL,
    root      BYTEA NOT NULL,
    PRIMARY KEY (tenant_id, level, idx)
);

-- Checkpoints that were signed. Old ones are thinned out: one an hour is kept, and the last of each epoch.
CREATE TABLE ledger_checkpoints (
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    epoch     BIGINT NOT NULL,
    size      BIGINT NOT NULL,
    root      BYTEA NOT NULL,
    note      TEXT NOT NULL,
    signed_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, epoch, size)
);

-- The newest checkpoint of each tenant, and when it was last found to be that of the ledger.
CREATE TABLE ledger_published (
    tenant_id  TEXT PRIMARY KEY REFERENCES tenants (tenant_id),
    epoch      BIGINT NOT NULL,
    size       BIGINT NOT NULL,
    root       BYTEA NOT NULL,
    note       TEXT NOT NULL,
    signed_at  BIGINT NOT NULL,
    checked_at BIGINT NOT NULL
);

-- Epochs after the first: a log was sealed by a checkpoint, and goes on as another.
CREATE TABLE ledger_epochs (
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    epoch     BIGINT NOT NULL,
    sealed    TEXT NOT NULL,
    idx       BIGINT NOT NULL,
    opened_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, epoch)
);

-- Daily roots. Sealed days never change.
CREATE TABLE ledger_days (
    tenant_id  TEXT NOT NULL REFERENCES tenants (tenant_id),
    day        BIGINT NOT NULL,
    size_from  BIGINT NOT NULL,
    size_to    BIGINT NOT NULL,
    root       BYTEA NOT NULL,
    statement  TEXT NOT NULL,
    idx        BIGINT NOT NULL,
    entry_hash BYTEA NOT NULL,
    sealed_at  BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, day)
);
CREATE FUNCTION ledger_days_frozen() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'sealed days are never changed or deleted'; END $$;
CREATE TRIGGER ledger_days_frozen BEFORE UPDATE OR DELETE ON ledger_days
FOR EACH ROW EXECUTE FUNCTION ledger_days_frozen();

-- Which replica does what only one should do at a time.
CREATE TABLE leases (
    name   TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    ends   BIGINT NOT NULL
);
