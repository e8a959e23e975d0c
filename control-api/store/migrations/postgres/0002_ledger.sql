-- Where each tenant's ledger stands. Whoever writes to a ledger locks this row first.
CREATE TABLE ledger_heads (
    tenant_id  TEXT PRIMARY KEY REFERENCES tenants (tenant_id),
    size       BIGINT NOT NULL,
    chain      BYTEA NOT NULL,
    updated_at BIGINT NOT NULL
);

-- The record: the signed bytes, in order, with leaf and chain hash. Only ever inserted.
CREATE TABLE ledger_entries (
    tenant_id   TEXT NOT NULL REFERENCES tenants (tenant_id),
    idx         BIGINT NOT NULL,
    source_id   TEXT NOT NULL,
    boot_id     TEXT NOT NULL,
    seq         BIGINT NOT NULL,
    entry       BYTEA NOT NULL,
    leaf        BYTEA NOT NULL,
    chain       BYTEA NOT NULL,
    signature   TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, idx),
    UNIQUE (tenant_id, source_id, boot_id, seq)
);

-- What the entries say, as columns: a projection that verification compares with the bytes.
CREATE TABLE audit_rows (
    tenant_id         TEXT NOT NULL,
    idx               BIGINT NOT NULL,
    audit_id          TEXT NOT NULL,
    source_id         TEXT NOT NULL,
    kind              TEXT NOT NULL,
    ts                BIGINT NOT NULL,
    received_at       BIGINT NOT NULL,
    execution_id      TEXT,
    request_id        TEXT,
    client_request_id TEXT,
    agent_id          TEXT,
    principal         TEXT,
    session_id        TEXT,
    tool              TEXT,
    action            TEXT NOT NULL,
    object            TEXT,
    decision          TEXT,
    outcome           TEXT,
    score_bp          BIGINT,
    risk_score        BIGINT,
    findings          TEXT,
    rule_ids          TEXT,
    cost_micro_usd    BIGINT,
    count             BIGINT,
    reason            TEXT,
    -- The index of the outcome entry that settled this decision.
    outcome_idx       BIGINT,
    PRIMARY KEY (tenant_id, idx),
    UNIQUE (tenant_id, audit_id)
);
CREATE INDEX audit_rows_execution ON audit_rows (tenant_id, execution_id);
CREATE INDEX audit_rows_kind ON audit_rows (tenant_id, kind, idx);
CREATE INDEX audit_rows_agent ON audit_rows (tenant_id, agent_id, idx);
CREATE INDEX audit_rows_decision ON audit_rows (tenant_id, decision, idx);
CREATE INDEX audit_rows_tool ON audit_rows (tenant_id, tool, idx);
CREATE INDEX audit_rows_ts ON audit_rows (tenant_id, ts);

-- Everything that dashboards aggregate, per hour of the source's clock.
CREATE TABLE rollup_hourly (
    tenant_id      TEXT NOT NULL,
    hour           BIGINT NOT NULL,
    agent_id       TEXT NOT NULL,
    tool           TEXT NOT NULL,
    decision       TEXT NOT NULL,
    calls          BIGINT NOT NULL,
    risk_sum       BIGINT NOT NULL,
    risk_low       BIGINT NOT NULL,
    risk_medium    BIGINT NOT NULL,
    risk_high      BIGINT NOT NULL,
    risk_critical  BIGINT NOT NULL,
    cost_micro_usd BIGINT NOT NULL,
    pending        BIGINT NOT NULL,
    executed       BIGINT NOT NULL,
    not_executed   BIGINT NOT NULL,
    failed         BIGINT NOT NULL,
    unknown        BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, hour, agent_id, tool, decision)
);

-- Who writes entries: sidecars, and the control plane itself.
CREATE TABLE sources (
    source_id       TEXT PRIMARY KEY,
    kind            TEXT NOT NULL,
    name            TEXT NOT NULL,
    identity_key    TEXT NOT NULL,
    identity_key_id TEXT NOT NULL,
    status          TEXT NOT NULL,
    version         TEXT NOT NULL,
    public_url      TEXT NOT NULL,
    enrolled_at     BIGINT NOT NULL,
    last_seen_at    BIGINT,
    applied_version BIGINT,
    applied_at      BIGINT,
    heartbeat       TEXT,
    tools           TEXT,
    -- The join token it came with: a repeated enrolment with the same token and key is the same one.
    join_token_id   TEXT
);

CREATE UNIQUE INDEX sources_identity ON sources (identity_key);

CREATE TABLE source_tenants (
    source_id TEXT NOT NULL REFERENCES sources (source_id),
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    PRIMARY KEY (source_id, tenant_id)
);
CREATE INDEX source_tenants_tenant ON source_tenants (tenant_id);

-- Join tokens are kept as SHA-256.
CREATE TABLE join_tokens (
    join_token_id TEXT PRIMARY KEY,
    hash          BYTEA NOT NULL UNIQUE,
    tenants       TEXT NOT NULL,
    created_by    TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    uses_left     BIGINT NOT NULL
);

-- How far each source's boot has come in each tenant. NULL prev: any predecessor, after a declared or settled gap.
CREATE TABLE source_cursors (
    tenant_id  TEXT NOT NULL REFERENCES tenants (tenant_id),
    source_id  TEXT NOT NULL,
    boot_id    TEXT NOT NULL,
    next_seq   BIGINT NOT NULL,
    prev       BYTEA,
    closed     BOOLEAN NOT NULL,
    opened_at  BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, source_id, boot_id)
);

-- The key of each boot, as its `open` entry introduced it.
CREATE TABLE boot_keys (
    tenant_id  TEXT NOT NULL REFERENCES tenants (tenant_id),
    source_id  TEXT NOT NULL,
    boot_id    TEXT NOT NULL,
    key_id     TEXT NOT NULL,
    public_key TEXT NOT NULL,
    idx        BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, source_id, boot_id)
);
CREATE INDEX boot_keys_key ON boot_keys (tenant_id, key_id);

-- What was delivered and is not in the ledger, or breaks its rules: kept with its bytes.
CREATE TABLE ledger_violations (
    violation_id TEXT PRIMARY KEY,
    tenant_id    TEXT NOT NULL REFERENCES tenants (tenant_id),
    delivered_by TEXT NOT NULL,
    source_id    TEXT,
    boot_id      TEXT,
    seq          BIGINT,
    kind         TEXT NOT NULL,
    detail       TEXT NOT NULL,
    entry        BYTEA NOT NULL,
    entry_hash   BYTEA NOT NULL,
    signature    TEXT NOT NULL,
    first_seen   BIGINT NOT NULL,
    last_seen    BIGINT NOT NULL,
    deliveries   BIGINT NOT NULL,
    settled      BOOLEAN NOT NULL,
    UNIQUE (tenant_id, delivered_by, kind, entry_hash)
);
CREATE INDEX ledger_violations_slot ON ledger_violations (tenant_id, source_id, boot_id, seq);

-- Keys that seal salts, one per agent and month, themselves sealed; erasing one erases what it sealed.
CREATE TABLE salt_keys (
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    agent_id  TEXT NOT NULL,
    month     BIGINT NOT NULL,
    sealed    BYTEA NOT NULL,
    PRIMARY KEY (tenant_id, agent_id, month)
);

CREATE TABLE ledger_salts (
    tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
    audit_id  TEXT NOT NULL,
    agent_id  TEXT NOT NULL,
    month     BIGINT NOT NULL,
    sealed    BYTEA NOT NULL,
    PRIMARY KEY (tenant_id, audit_id)
);
CREATE INDEX ledger_salts_key ON ledger_salts (tenant_id, agent_id, month);

CREATE FUNCTION ledger_entries_frozen() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'ledger entries are never changed or deleted'; END $$;
CREATE TRIGGER ledger_entries_frozen BEFORE UPDATE OR DELETE ON ledger_entries
FOR EACH ROW EXECUTE FUNCTION ledger_entries_frozen();
