-- A tenant's policy files and every version of them.
CREATE TABLE policies (
    tenant_id  TEXT NOT NULL REFERENCES tenants (tenant_id),
    name       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT NOT NULL,
    -- Retired ones leave lists; uploading the name again brings it back.
    retired_at BIGINT,
    PRIMARY KEY (tenant_id, name)
);

CREATE TABLE policy_versions (
    tenant_id    TEXT NOT NULL,
    name         TEXT NOT NULL,
    version      BIGINT NOT NULL,
    mode         TEXT NOT NULL,
    revision     TEXT NOT NULL,
    rego         TEXT NOT NULL,
    description  TEXT NOT NULL,
    rules        TEXT NOT NULL,
    tests_passed BIGINT NOT NULL,
    tests_failed BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    created_by   TEXT NOT NULL,
    PRIMARY KEY (tenant_id, name, version),
    FOREIGN KEY (tenant_id, name) REFERENCES policies (tenant_id, name)
);
CREATE UNIQUE INDEX policy_versions_active ON policy_versions (tenant_id, name) WHERE mode = 'active';
