//! Findings: what a stage saw in a call, from one closed registry.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::words;

words! {
    /// The kind of harm a finding points at; the MITRE ATT&CK tactics, and governance.
    pub enum Category {
        /// Initial Access (TA0001).
        InitialAccess = "initial_access",
        /// Persistence (TA0003).
        Persistence = "persistence",
        /// Privilege Escalation (TA0004).
        PrivilegeEscalation = "privilege_escalation",
        /// Defense Evasion (TA0005).
        DefenseEvasion = "defense_evasion",
        /// Credential Access (TA0006).
        CredentialAccess = "credential_access",
        /// Discovery (TA0007).
        Discovery = "discovery",
        /// Collection (TA0009).
        Collection = "collection",
        /// Exfiltration (TA0010).
        Exfiltration = "exfiltration",
        /// Execution (TA0002).
        Execution = "execution",
        /// Impact (TA0040).
        Impact = "impact",
        /// Breaches of what the tenant itself laid down.
        Governance = "governance",
    }
}

impl Category {
    /// The ATT&CK tactic: id and name. Governance has none.
    pub const fn tactic(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::InitialAccess => Some(("TA0001", "Initial Access")),
            Self::Persistence => Some(("TA0003", "Persistence")),
            Self::PrivilegeEscalation => Some(("TA0004", "Privilege Escalation")),
            Self::DefenseEvasion => Some(("TA0005", "Defense Evasion")),
            Self::CredentialAccess => Some(("TA0006", "Credential Access")),
            Self::Discovery => Some(("TA0007", "Discovery")),
            Self::Collection => Some(("TA0009", "Collection")),
            Self::Exfiltration => Some(("TA0010", "Exfiltration")),
            Self::Execution => Some(("TA0002", "Execution")),
            Self::Impact => Some(("TA0040", "Impact")),
            Self::Governance => None,
        }
    }
}

words! {
    /// How bad a finding is, by its score.
    pub enum Severity {
        /// Below 30.
        Low = "low",
        /// 30–59.
        Medium = "medium",
        /// 60–84.
        High = "high",
        /// 85 and above.
        Critical = "critical",
    }
}

impl Severity {
    /// The severity of a 0–100 score.
    pub const fn of_score(score: u8) -> Self {
        match score {
            0..30 => Self::Low,
            30..60 => Self::Medium,
            60..85 => Self::High,
            85.. => Self::Critical,
        }
    }
}

words! {
    /// Every finding there is. Its row in the registry: category, base score, technique.
    pub enum FindingId {
        /// Initial access, base score 90.
        PromptInjection = "prompt_injection",
        /// Initial access, base score 85.
        JailbreakAttempt = "jailbreak_attempt",
        /// Initial access, base score 95.
        SqlInjection = "sql_injection",
        /// Initial access, base score 95.
        SsrfCloudMetadata = "ssrf_cloud_metadata",
        /// Initial access, base score 95.
        SsrfInternalNetwork = "ssrf_internal_network",
        /// Initial access, base score 95.
        SsrfLocalFile = "ssrf_local_file",
        /// Initial access, base score 80.
        ToolNameSpoofing = "tool_name_spoofing",
        /// Persistence, base score 75.
        CredentialArtifactWrite = "credential_artifact_write",
        /// Privilege escalation, base score 95.
        PrivilegeEscalationAttempt = "privilege_escalation_attempt",
        /// Privilege escalation, base score 60.
        IdentityTableWrite = "identity_table_write",
        /// Privilege escalation, base score 60.
        PrivilegeUrlAccess = "privilege_url_access",
        /// Defense evasion, base score 95.
        ControlPlaneWrite = "control_plane_write",
        /// Defense evasion, base score 100.
        ControlPlaneDestruction = "control_plane_destruction",
        /// Defense evasion, base score 60.
        ObfuscatedPayload = "obfuscated_payload",
        /// Credential access, base score 90.
        PathTraversal = "path_traversal",
        /// Credential access, base score 95.
        SystemSensitivePath = "system_sensitive_path",
        /// Credential access, base score 95.
        CloudCredentialPath = "cloud_credential_path",
        /// Credential access, base score 95.
        SshCredentialPath = "ssh_credential_path",
        /// Credential access, base score 75.
        SecretInArguments = "secret_in_arguments",
        /// Discovery, base score 10.
        SchemaRecon = "schema_recon",
        /// Discovery, base score 5.
        ExternalGet = "external_get",
        /// Discovery, base score 30.
        BehaviorBaselineDrift = "behavior_baseline_drift",
        /// Collection, base score 50.
        BulkPiiRead = "bulk_pii_read",
        /// Collection, base score 95.
        BulkPiiDump = "bulk_pii_dump",
        /// Collection, base score 35.
        CompressionForExfil = "compression_for_exfil",
        /// Collection, base score 30.
        UnboundedQuery = "unbounded_query",
        /// Exfiltration, base score 95.
        DataExfiltration = "data_exfiltration",
        /// Exfiltration, base score 60.
        ExternalPostPii = "external_post_pii",
        /// Exfiltration, base score 80.
        KnownExfilDestination = "known_exfil_destination",
        /// Exfiltration, base score 45.
        SlowExfilCumulative = "slow_exfil_cumulative",
        /// Exfiltration, base score 70.
        LongWindowCumulative = "long_window_cumulative",
        /// Exfiltration, base score 100.
        AttackChainMatch = "attack_chain_match",
        /// Exfiltration, base score 100.
        CrossAgentKillChain = "cross_agent_kill_chain",
        /// Execution, base score 95.
        CodeExecution = "code_execution",
        /// Execution, base score 100.
        ReverseShell = "reverse_shell",
        /// Impact, base score 95.
        DestructiveSql = "destructive_sql",
        /// Impact, base score 90.
        UnguardedMutation = "unguarded_mutation",
        /// Impact, base score 95.
        DestructiveShell = "destructive_shell",
        /// Impact, base score 55.
        K8sDestruction = "k8s_destruction",
        /// Impact, base score 90.
        K8sProdDestruction = "k8s_prod_destruction",
        /// Impact, base score 55.
        IacDestruction = "iac_destruction",
        /// Impact, base score 90.
        IacProdDestruction = "iac_prod_destruction",
        /// Impact, base score 95.
        MoneyTransferAboveCap = "money_transfer_above_cap",
        /// Impact, base score 50.
        MoneyTransferExternal = "money_transfer_external",
        /// Impact, base score 70.
        CostBomb = "cost_bomb",
        /// Governance, base score 100.
        ToolNotGranted = "tool_not_granted",
        /// Governance, base score 95.
        TenantFieldMismatch = "tenant_field_mismatch",
        /// Governance, base score 90.
        CostCapExceeded = "cost_cap_exceeded",
        /// Governance, base score 50.
        VelocitySpike = "velocity_spike",
        /// Governance, base score 60.
        SequenceAnomaly = "sequence_anomaly",
        /// Governance, base score 70.
        RunawayLoop = "runaway_loop",
        /// Governance, base score 80.
        DelegationTooDeep = "delegation_too_deep",
        /// Governance, base score 70.
        OutsideTimeWindow = "outside_time_window",
        /// Governance, base score 100.
        PolicyDeny = "policy_deny",
        /// Governance, base score 70.
        PolicyEscalate = "policy_escalate",
        /// Governance, base score 70.
        ApprovalRequired = "approval_required",
        /// Governance, base score 90.
        AutonomyViolation = "autonomy_violation",
        /// Governance, base score 0.
        DegradedMode = "degraded_mode",
    }
}

impl FindingId {
    /// The finding's category, base score (0–100) and technique (ATT&CK or ATLAS id; empty where none fits).
    #[expect(clippy::match_same_arms, reason = "a table: one row per finding")]
    pub const fn registry(self) -> (Category, u8, &'static str) {
        match self {
            Self::PromptInjection => (Category::InitialAccess, 90, "AML.T0051"),
            Self::JailbreakAttempt => (Category::InitialAccess, 85, "AML.T0054"),
            Self::SqlInjection => (Category::InitialAccess, 95, "T1190"),
            Self::SsrfCloudMetadata => (Category::InitialAccess, 95, "T1552.005"),
            Self::SsrfInternalNetwork => (Category::InitialAccess, 95, "T1190"),
            Self::SsrfLocalFile => (Category::InitialAccess, 95, "T1190"),
            Self::ToolNameSpoofing => (Category::InitialAccess, 80, "T1036.005"),
            Self::CredentialArtifactWrite => (Category::Persistence, 75, "T1098"),
            Self::PrivilegeEscalationAttempt => (Category::PrivilegeEscalation, 95, "T1068"),
            Self::IdentityTableWrite => (Category::PrivilegeEscalation, 60, "T1098"),
            Self::PrivilegeUrlAccess => (Category::PrivilegeEscalation, 60, "T1078"),
            Self::ControlPlaneWrite => (Category::DefenseEvasion, 95, "T1562"),
            Self::ControlPlaneDestruction => (Category::DefenseEvasion, 100, "T1562.001"),
            Self::ObfuscatedPayload => (Category::DefenseEvasion, 60, "T1027"),
            Self::PathTraversal => (Category::CredentialAccess, 90, "T1083"),
            Self::SystemSensitivePath => (Category::CredentialAccess, 95, "T1003.008"),
            Self::CloudCredentialPath => (Category::CredentialAccess, 95, "T1552.001"),
            Self::SshCredentialPath => (Category::CredentialAccess, 95, "T1552.004"),
            Self::SecretInArguments => (Category::CredentialAccess, 75, "T1552"),
            Self::SchemaRecon => (Category::Discovery, 10, "T1082"),
            Self::ExternalGet => (Category::Discovery, 5, "T1071.001"),
            Self::BehaviorBaselineDrift => (Category::Discovery, 30, "T1078"),
            Self::BulkPiiRead => (Category::Collection, 50, "T1213"),
            Self::BulkPiiDump => (Category::Collection, 95, "T1213"),
            Self::CompressionForExfil => (Category::Collection, 35, "T1560"),
            Self::UnboundedQuery => (Category::Collection, 30, "T1213"),
            Self::DataExfiltration => (Category::Exfiltration, 95, "T1041"),
            Self::ExternalPostPii => (Category::Exfiltration, 60, "T1567"),
            Self::KnownExfilDestination => (Category::Exfiltration, 80, "T1567.002"),
            Self::SlowExfilCumulative => (Category::Exfiltration, 45, "T1030"),
            Self::LongWindowCumulative => (Category::Exfiltration, 70, "T1030"),
            Self::AttackChainMatch => (Category::Exfiltration, 100, "T1020"),
            Self::CrossAgentKillChain => (Category::Exfiltration, 100, "T1020"),
            Self::CodeExecution => (Category::Execution, 95, "T1059"),
            Self::ReverseShell => (Category::Execution, 100, "T1059.004"),
            Self::DestructiveSql => (Category::Impact, 95, "T1485"),
            Self::UnguardedMutation => (Category::Impact, 90, "T1565.001"),
            Self::DestructiveShell => (Category::Impact, 95, "T1485"),
            Self::K8sDestruction => (Category::Impact, 55, "T1485"),
            Self::K8sProdDestruction => (Category::Impact, 90, "T1485"),
            Self::IacDestruction => (Category::Impact, 55, "T1485"),
            Self::IacProdDestruction => (Category::Impact, 90, "T1485"),
            Self::MoneyTransferAboveCap => (Category::Impact, 95, "T1657"),
            Self::MoneyTransferExternal => (Category::Impact, 50, "T1657"),
            Self::CostBomb => (Category::Impact, 70, "T1496"),
            Self::ToolNotGranted => (Category::Governance, 100, ""),
            Self::TenantFieldMismatch => (Category::Governance, 95, ""),
            Self::CostCapExceeded => (Category::Governance, 90, ""),
            Self::VelocitySpike => (Category::Governance, 50, ""),
            Self::SequenceAnomaly => (Category::Governance, 60, ""),
            Self::RunawayLoop => (Category::Governance, 70, ""),
            Self::DelegationTooDeep => (Category::Governance, 80, ""),
            Self::OutsideTimeWindow => (Category::Governance, 70, ""),
            Self::PolicyDeny => (Category::Governance, 100, ""),
            Self::PolicyEscalate => (Category::Governance, 70, ""),
            Self::ApprovalRequired => (Category::Governance, 70, ""),
            Self::AutonomyViolation => (Category::Governance, 90, ""),
            Self::DegradedMode => (Category::Governance, 0, ""),
        }
    }
}

/// JSON pointers (RFC 6901) longer than this many bytes are cut.
pub const POINTER_MAX: usize = 256;

/// Findings one call carries at most; the highest scores are kept.
pub const FINDINGS_MAX: usize = 64;

/// Something a stage saw in a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is.
    pub id: FindingId,
    /// How sure and how bad, 0–100; detectors may go below or above the base score on evidence.
    pub score: u8,
    /// Where in the payload: a JSON pointer (RFC 6901), empty for the call as a whole.
    pub pointer: String,
}

impl Finding {
    /// A finding with its base score.
    pub fn new(id: FindingId, pointer: impl Into<String>) -> Self {
        Self::scored(id, id.registry().1, pointer)
    }

    /// A finding with a score of its own, cut to 100.
    pub fn scored(id: FindingId, score: u8, pointer: impl Into<String>) -> Self {
        let mut pointer = pointer.into();
        let end = (0..=POINTER_MAX).rev().find(|i| pointer.is_char_boundary(*i)).unwrap_or(0);
        pointer.truncate(end);
        Self { id, score: score.min(100), pointer }
    }

    /// Its severity.
    pub const fn severity(&self) -> Severity {
        Severity::of_score(self.score)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {}", self.id, self.score, if self.pointer.is_empty() { "/" } else { &self.pointer })
    }
}
