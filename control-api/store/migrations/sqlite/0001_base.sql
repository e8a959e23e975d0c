-- Tenants, and the snapshot items that sidecars decide by.
CREATE TABLE tenants (
    tenant_id  TEXT PRIMARY KEY,
    org_id     TEXT NOT NULL,
    name       TEXT NOT NULL,
    tier       TEXT NOT NULL,
    status     TEXT NOT NULL,
    record     TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- One row: the number of the last change. Locked last in every write, so changes commit in order.
CREATE TABLE change_counter (
    id     BIGINT PRIMARY KEY CHECK (id = 1),
    number BIGINT NOT NULL
);
INSERT INTO change_counter (id, number) VALUES (1, 0);

-- The item as it stands and the change that last touched it; NULL once removed.
CREATE TABLE snapshot_items (
    tenant_id  TEXT NOT NULL REFERENCES tenants (tenant_id),
    item_key   TEXT NOT NULL,
    version    BIGINT NOT NULL,
    item       TEXT,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, item_key)
);
CREATE UNIQUE INDEX snapshot_items_version ON snapshot_items (version);
