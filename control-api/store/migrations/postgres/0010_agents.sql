-- Agents and what they may use.
CREATE TABLE agents (
    tenant_id                TEXT NOT NULL REFERENCES tenants (tenant_id),
    agent_id                 TEXT NOT NULL,
    org_id                   TEXT NOT NULL,
    name                     TEXT NOT NULL,
    description              TEXT NOT NULL,
    owner_id                 TEXT NOT NULL,
    status                   TEXT NOT NULL,
    risk_level               TEXT NOT NULL,
    metadata                 TEXT NOT NULL,
    requests_per_second      BIGINT,
    daily_cost_cap_micro_usd BIGINT,
    parent_agent_id          TEXT,
    created_at               BIGINT NOT NULL,
    updated_at               BIGINT NOT NULL,
    -- Deleted ones leave lists and free their name; their rows stay readable.
    deleted_at               BIGINT,
    PRIMARY KEY (tenant_id, agent_id)
);
CREATE UNIQUE INDEX agents_name ON agents (tenant_id, name) WHERE deleted_at IS NULL;
CREATE INDEX agents_created ON agents (tenant_id, created_at, agent_id);

-- One row per agent, tool pattern and effect: granting again renews it.
CREATE TABLE grants (
    tenant_id  TEXT NOT NULL,
    grant_id   TEXT NOT NULL,
    agent_id   TEXT NOT NULL,
    tool       TEXT NOT NULL,
    effect     TEXT NOT NULL,
    granted_by TEXT NOT NULL,
    granted_at BIGINT NOT NULL,
    expires_at BIGINT,
    PRIMARY KEY (tenant_id, grant_id),
    UNIQUE (tenant_id, agent_id, tool, effect),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES agents (tenant_id, agent_id)
);

-- The kill switch as last set; absent while it was never touched.
CREATE TABLE kill_switches (
    tenant_id  TEXT PRIMARY KEY REFERENCES tenants (tenant_id),
    engaged    BOOLEAN NOT NULL,
    engaged_at BIGINT NOT NULL,
    engaged_by TEXT NOT NULL,
    reason     TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    changed_by TEXT NOT NULL
);

-- When each sidecar put a watched item in force, as it told in its heartbeat.
CREATE TABLE item_applied (
    source_id  TEXT NOT NULL REFERENCES sources (source_id),
    tenant_id  TEXT NOT NULL REFERENCES tenants (tenant_id),
    item_key   TEXT NOT NULL,
    version    BIGINT NOT NULL,
    applied_at BIGINT NOT NULL,
    PRIMARY KEY (source_id, tenant_id, item_key)
);

-- One agent's hours, for its profile.
CREATE INDEX rollup_hourly_agent ON rollup_hourly (tenant_id, agent_id, hour);
