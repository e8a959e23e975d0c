-- Invites: one per user that was invited and has not come yet. Tokens as SHA-256 (hex).
CREATE TABLE user_invites (
    user_id    TEXT PRIMARY KEY REFERENCES users (user_id),
    tenant_id  TEXT NOT NULL REFERENCES tenants (tenant_id),
    token_hash TEXT NOT NULL UNIQUE,
    invited_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX user_invites_tenant ON user_invites (tenant_id);

-- Second factors. The secret is sealed; in force once confirmed. A code's step is used once.
CREATE TABLE user_totp (
    user_id      TEXT PRIMARY KEY REFERENCES users (user_id),
    tenant_id    TEXT NOT NULL REFERENCES tenants (tenant_id),
    sealed       BLOB NOT NULL,
    created_at   BIGINT NOT NULL,
    confirmed_at BIGINT,
    last_step    BIGINT NOT NULL
);
CREATE INDEX user_totp_tenant ON user_totp (tenant_id);

-- API keys as SHA-256 (hex). Revoked ones stay, for those who read the ledger.
CREATE TABLE api_keys (
    tenant_id    TEXT NOT NULL REFERENCES tenants (tenant_id),
    key_id       TEXT NOT NULL,
    name         TEXT NOT NULL,
    key_prefix   TEXT NOT NULL,
    sha256       TEXT NOT NULL UNIQUE,
    scopes       TEXT NOT NULL,
    agent_id     TEXT,
    created_by   TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    -- On the management API; what it did through sidecars is in the ledger.
    last_used_at BIGINT,
    revoked_at   BIGINT,
    PRIMARY KEY (tenant_id, key_id)
);
-- When a key last called a tool.
CREATE INDEX audit_rows_api_key ON audit_rows (tenant_id, principal, ts) WHERE principal LIKE 'api_key:%';

-- Management writes with an idempotency key: who asked what, whether it was committed, and the sealed answer.
CREATE TABLE idempotency_keys (
    tenant_id    TEXT NOT NULL REFERENCES tenants (tenant_id),
    principal    TEXT NOT NULL,
    idem_key     TEXT NOT NULL,
    request_hash BLOB NOT NULL,
    owner        TEXT NOT NULL,
    committed    BOOLEAN NOT NULL,
    answer       BLOB,
    started_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, principal, idem_key)
);
CREATE INDEX idempotency_keys_end ON idempotency_keys (expires_at);
