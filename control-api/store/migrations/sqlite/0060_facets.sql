-- What calls were about: per day (findings, denying rules, scores) or hour (shadow verdicts) of the source's clock.
CREATE TABLE rollup_facets (
    tenant_id TEXT NOT NULL,
    facet     TEXT NOT NULL,
    bucket    BIGINT NOT NULL,
    agent_id  TEXT NOT NULL,
    value     TEXT NOT NULL,
    calls     BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, facet, bucket, agent_id, value)
);

-- What is stored already.
INSERT INTO rollup_facets (tenant_id, facet, bucket, agent_id, value, calls)
SELECT a.tenant_id, 'risk', a.ts / 86400000000 * 86400000000, a.agent_id, CAST(a.risk_score AS TEXT), SUM(a.count)
FROM audit_rows a WHERE a.kind = 'decision' GROUP BY 1, 3, 4, 5;

INSERT INTO rollup_facets (tenant_id, facet, bucket, agent_id, value, calls)
SELECT r.tenant_id, 'finding', r.bucket, r.agent_id, r.value, SUM(r.count)
FROM (SELECT DISTINCT a.tenant_id, a.idx, a.ts / 86400000000 * 86400000000 AS bucket, a.agent_id, f.value AS value, a.count
      FROM audit_rows a, json_each(a.findings) f WHERE a.kind = 'decision') r
GROUP BY 1, 3, 4, 5;

INSERT INTO rollup_facets (tenant_id, facet, bucket, agent_id, value, calls)
SELECT a.tenant_id, 'deny_reason', a.ts / 86400000000 * 86400000000, a.agent_id, COALESCE(json_extract(a.rule_ids, '$[0]'), 'score'), SUM(a.count)
FROM audit_rows a
WHERE a.kind = 'decision' AND (a.decision = 'KILL' OR (a.decision = 'ESCALATE' AND a.outcome = 'not_executed'))
GROUP BY 1, 3, 4, 5;

-- Who set the tenant's decision weights last; no row while they are the product's.
CREATE TABLE signal_weights (
    tenant_id  TEXT PRIMARY KEY REFERENCES tenants (tenant_id),
    updated_at BIGINT NOT NULL,
    updated_by TEXT NOT NULL
);
