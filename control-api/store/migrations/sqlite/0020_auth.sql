-- People who sign in. E-mail addresses are kept in lower case; passwords as Argon2id.
CREATE TABLE users (
    user_id        TEXT PRIMARY KEY,
    tenant_id      TEXT NOT NULL REFERENCES tenants (tenant_id),
    email          TEXT NOT NULL,
    full_name      TEXT,
    role           TEXT NOT NULL,
    platform_admin BOOLEAN NOT NULL,
    is_active      BOOLEAN NOT NULL,
    password_hash  TEXT NOT NULL,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL,
    UNIQUE (tenant_id, email)
);

-- The secret of each agent, as Argon2id: setting it again replaces it.
CREATE TABLE agent_credentials (
    tenant_id     TEXT NOT NULL,
    agent_id      TEXT NOT NULL,
    credential_id TEXT NOT NULL,
    secret_hash   TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, agent_id),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES agents (tenant_id, agent_id)
);
CREATE INDEX agent_credentials_agent ON agent_credentials (agent_id);

-- One login and the refresh tokens that descend from it. The access token last issued is known, to revoke it.
CREATE TABLE refresh_families (
    family_id         TEXT PRIMARY KEY,
    tenant_id         TEXT NOT NULL REFERENCES tenants (tenant_id),
    user_id           TEXT NOT NULL REFERENCES users (user_id),
    access_id         TEXT NOT NULL,
    access_expires_at BIGINT NOT NULL,
    created_at        BIGINT NOT NULL,
    expires_at        BIGINT NOT NULL,
    revoked_at        BIGINT
);
CREATE INDEX refresh_families_user ON refresh_families (tenant_id, user_id);
CREATE INDEX refresh_families_end ON refresh_families (expires_at);

-- Refresh tokens as SHA-256 (hex). A used one that comes again was stolen from somebody.
CREATE TABLE refresh_tokens (
    token_hash TEXT PRIMARY KEY,
    family_id  TEXT NOT NULL REFERENCES refresh_families (family_id) ON DELETE CASCADE,
    issued_at  BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at    BIGINT
);
CREATE INDEX refresh_tokens_family ON refresh_tokens (family_id);
