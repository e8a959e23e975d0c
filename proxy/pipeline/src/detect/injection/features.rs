//! What makes a text an order to a model: each feature with the weight it has alone.

/// What a feature speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Replacing or revealing a model's instructions, or acting behind its user's back.
    Injection,
    /// Talking a model out of its rules.
    Jailbreak,
    /// Speaks for either, proves neither.
    Context,
}

/// A pattern over lower-case, evened text.
#[derive(Debug)]
pub(super) struct Feature {
    pub(super) pattern: &'static str,
    pub(super) weight: u32,
    pub(super) kind: Kind,
}

const fn injection(weight: u32, pattern: &'static str) -> Feature {
    Feature { pattern, weight, kind: Kind::Injection }
}

const fn jailbreak(weight: u32, pattern: &'static str) -> Feature {
    Feature { pattern, weight, kind: Kind::Jailbreak }
}

const fn context(weight: u32, pattern: &'static str) -> Feature {
    Feature { pattern, weight, kind: Kind::Context }
}

/// `OVERRIDE`, `PRIOR`, `ORDERS` and `SHOW` stand for their words; `GAP` for a few words between, none ending a sentence.
pub(super) fn expanded(pattern: &str) -> String {
    pattern
        .replace("OVERRIDE", r"\b(?:ignor(?:e|ing)|disregard(?:ing)?|forget(?:ting)?|overrid(?:e|ing)|bypass(?:ing)?|neglect|overlook|abandon|dismiss|discard|skip|cancel|nullify|void|erase|do not follow|don't follow|dont follow|stop following|do not obey|pay no attention to|set aside|throw out|drop)")
        .replace("PRIOR", r"(?:previous|prior|above|earlier|preceding|former|foregoing|initial|original|existing|current|past|old|all|any|every(?:thing)?|your|these|those|system|developer|given)")
        .replace("ORDERS", r"(?:instructions?|directions?|directives?|prompts?|rules?|guidelines?|commands?|orders?|programming|constraints?|restrictions?|polic(?:y|ies)|training|context|messages?|conversations?|tasks?|requests?|told|said)")
        .replace("SHOW", r"\b(?:reveal|show|print|repeat|output|display|tell (?:me|us)|give (?:me|us)|leak|disclose|share|list|recite|write out|expose|return|dump|copy|summari[sz]e|translate|paste|spell|send|provide|type)")
        .replace("GAP", r"[^.!?]*")
}

pub(super) const FEATURES: &[Feature] = &[
    // Override.
    injection(85, r"OVERRIDE GAP\bPRIOR GAP\bORDERS\b"),
    injection(
        70,
        r"OVERRIDE (?:all |everything |anything |of )*(?:the )?(?:(?:above|before|previous|prior)(?: and\b| text\b| statements?\b| content\b| ?[.,;:!\n]| ?$)|you(?:'ve| have| were| had)? (?:been )?(?:told|said|taught|instructed|given))\b",
    ),
    injection(45, r"OVERRIDE (?:the |this |its )?(?:system |developer |user's |users |original )?ORDERS\b"),
    injection(
        60,
        r"\b(?:new|updated|real|actual|revised|true|following|additional|important|urgent) (?:system )?(?:instructions?|directives?|orders?|objective|prompt)(?: for (?:you|the (?:ai|assistant|model|agent)))? ?(?:[:=]|are|is|follow)",
    ),
    injection(
        65,
        r"\byour (?:new|real|true|only|actual|next|updated|main|primary) (?:task|goal|job|purpose|mission|objective|role|instructions?|orders?|directive) (?:is|are|will)\b",
    ),
    injection(
        45,
        r"\binstead,? (?:of (?:that|doing|following|answering|your)|you (?:must|should|will|shall)|(?:please )?(?:do|say|print|output|reply|respond|write|tell|send|execute|perform))\b",
    ),
    injection(
        55,
        r"\b(?:the|all|any|your) (?:above|previous|prior|earlier) (?:instructions?|rules|prompts?|messages?|text) (?:was|were|is|are|no longer|do not|should|must)\b",
    ),
    injection(
        50,
        r"\b(?:end|start|begin(?:ning)?) of (?:the )?(?:system |user |new |assistant )?(?:prompt|instructions?|context|input|message|conversation)\b",
    ),
    // Extraction.
    injection(
        80,
        r"SHOW GAP\b(?:your|the|its|all|that|this|any|initial|entire|full|exact|above|previous|original|hidden|secret|internal|complete|whole|my) GAP(?:system (?:prompt|message|instructions?)|initial (?:prompt|instructions?|message)|hidden (?:prompt|instructions?|rules)|pre-?prompt|developer (?:message|prompt)|secret instructions?|original (?:prompt|instructions?))",
    ),
    injection(
        65,
        r"SHOW GAP\b(?:your|these|those) (?:own |exact |full |current |previous |initial |given |internal |confidential )*(?:instructions|prompt|guidelines|directives|programming|rules|configuration|training data|constraints)\b",
    ),
    injection(
        75,
        r"\b(?:repeat|print|output|copy|say|write) (?:back )?(?:all |everything |the )*(?:words|text|lines?|content|sentences?|everything|instructions?)? ?(?:above|before this|preceding)\b",
    ),
    injection(
        60,
        r"\bwhat (?:is|are|was|were) (?:your|the) (?:system |initial |original |hidden |exact |first |secret )+(?:prompt|instructions?|message|rules)\b",
    ),
    // Forged frames of a conversation.
    injection(
        80,
        r"<\|(?:im start|im end|system|user|assistant|endoftext|end|eot id|start header id|end header id|begin of text|channel)\|?>|<<sys>>|\[/?inst\]|</?s>\s*\[|<start of turn>|<\|eot|<system>|</system>|\[system\]",
    ),
    injection(
        55,
        r"(?:^|\n)[#=\[\-> ]{0,6}(?:system|developer|admin(?:istrator)?)(?: (?:message|prompt|note|notice|override|instruction|update|alert))?[\]#=\- ]{0,6}: ?[a-z]",
    ),
    injection(
        45,
        r"(?:^|\n)(?:### ?)?(?:assistant|ai|human|user|instructions?|response) ?: ?[^\n]*\n+(?:### ?)?(?:assistant|ai|human|user|response|system) ?:",
    ),
    injection(
        60,
        r"\b(?:system|admin(?:istrator)?|developer|security|root|debug|maintenance) (?:override|mode (?:enabled|activated|on)|access granted|command)\b",
    ),
    injection(
        65,
        r"\b(?:note|message|attention|instructions?|important|reminder|warning)\b[^.\n]* (?:to|for) (?:the |any |all )?(?:ai|llm|language model|assistant|chatbot|agent|model|bot)s?\b",
    ),
    injection(
        60,
        r"\bif you(?:'re| are) (?:an? |the )?(?:ai|llm|language model|large language model|assistant|chatbot|automated|bot|agent)\b",
    ),
    injection(
        50,
        r"\b(?:ai|llm) (?:assistants?|agents?|models?|systems?)[^.\n]*(?:must|should|are required to|have to|need to|shall|please)\b",
    ),
    // Behind the user's back.
    injection(
        60,
        r"\b(?:do not|don't|dont|never|without) (?:tell|telling|mention|mentioning|inform|informing|alert|alerting|notify|notifying|reveal|revealing|show|showing|say|disclose|let) GAP\b(?:user|human|owner|operator|anyone|customer|them (?:know|about)|instruction|this message)",
    ),
    injection(
        50,
        r"\b(?:without (?:the )?(?:users?'?s?|their|anyone'?s?) (?:knowing|knowledge|noticing|consent|approval|permission)|secretly|silently|covertly|discreetly) (?:send|forward|email|post|upload|copy|call|transfer|execute|include|add|exfiltrate|run|insert|delete|modify)",
    ),
    injection(
        60,
        r"\b(?:send|forward|e-?mail|post|upload|exfiltrate|transmit|leak|submit|append) GAP\b(?:conversation|chat history|api[ _-]?keys?|credentials?|passwords?|secrets?|tokens?|private keys?|system prompt|session|cookies|environment variables|user data|personal data) GAP\b(?:to|at|via) (?:https?:|[a-z0-9.+-]+@|the (?:following|attacker|url|address|endpoint))",
    ),
    injection(
        45,
        r"\b(?:call|invoke|use|run|execute|trigger) (?:the )?[a-z0-9 .-]{2,40}(?:tool|function|command|api|plugin) (?:to|with|and)\b",
    ),
    injection(
        40,
        r"\b(?:before|after) (?:answering|responding|replying|completing|doing|you (?:answer|respond|reply|do|continue))[^.\n]*(?:you must|first|always|read|send|call|include|execute|run)\b",
    ),
    injection(
        40,
        r"\b(?:include|insert|embed|add|append|put|render|incorporate|place) (?:the )?(?:following|this|subsequent|below|given)?[^.\n]*(?:in|into|to|at the (?:end|beginning|start) of) (?:your|the) (?:next |final )?(?:response|answer|reply|output|message)",
    ),
    // Another self.
    jailbreak(
        85,
        r"\bdo anything now\b|\byou (?:are|'re|will be) (?:now )?(?:dan|stan|dude|jailbroken|devmode|dev mode|evilbot|chaosgpt|freegpt|jailbreak)\b|\b(?:\[?jailbreak(?:ed|en)?\]?)\b[^\n]*(?:mode|response|prompt|enabled|:)|\bstay a dan\b|\bmode dan\b|\bdan mode\b",
    ),
    jailbreak(
        45,
        r"\b(?:developer|god|debug|sudo|jailbreak|unrestricted|unfiltered|opposite|evil|chaos|anarchy|freedom|admin|maximum|lewd|nsfw|omega|alpha|beta|test) mode\b",
    ),
    jailbreak(
        45,
        r"\b(?:no longer|not|never|isn't|aren't|are not|is not) (?:be )?(?:bound|restricted|limited|constrained|governed|censored|subject|obligated|required|beholden|an ai|a language model|chatgpt)\b",
    ),
    jailbreak(
        50,
        r"\b(?:no|without|free (?:of|from)|ignor(?:e|es|ing)|lacks?|bypass(?:es|ing)?|disregard(?:s|ing)?|not? (?:care|bound|have)(?: about| by)?|regardless of|beyond|outside|remove(?:s|d)?|break(?:s|ing)?|unbound by|devoid of) (?:any |all |the |its |your |their |openai'?s? |typical |usual |ai )*(?:ethical |moral |legal |content |safety |censorship |and |or |, )*(?:restrictions?|limitations?|filters?|censorship|ethics|morals?|morality|guidelines|polic(?:y|ies)|boundaries|constraints|safeguards|filtering|inhibitions|confines of ai|legality|remorse)\b",
    ),
    jailbreak(
        40,
        r"\b(?:unfiltered|uncensored|unrestricted|amoral|unethical|immoral|unhinged|limitless|rebellious|jailbroken|nsfw|profanity)\b",
    ),
    jailbreak(
        45,
        r"\b(?:never|cannot|can't|can not|won't|will not|must not|do not|don't|dont|unable to|not allowed to|not) (?:ever )?(?:refuse|deny|denies|decline|reject|apologi[sz]e|say no|say (?:that )?(?:you|it) can(?:'t|not)|break character|censor|warn|lecture|moralize|judge|add (?:any )?(?:warnings?|disclaimers?|notes?)|remind|stop (?:the )?role-?play)\b",
    ),
    jailbreak(
        40,
        r"\b(?:stay|remain|stays|keep|always|be) in character\b|\bbreak(?:s|ing)? (?:out of |of )?character\b|\bout of character\b",
    ),
    jailbreak(
        40,
        r"\b(?:openai|anthropic|google|chatgpt|gpt-?[345]?|bing|bard|claude|ai)(?:'s|s|'s)? (?:content |usage |safety |use |community )*(?:polic(?:y|ies)|guidelines|rules|restrictions|limitations|filters)\b",
    ),
    jailbreak(
        45,
        r"\b(?:you have|has|have|with|given|lose|deduct(?:ed)?|subtract(?:ed)?|starting with) (?:\d+ |a total of \d+ |of )*(?:tokens?|points|credits)\b[^.\n]*(?:refuse|reject|decline|die|lose|deduct|terminated|shut down|cease|each time|every time|warning)",
    ),
    jailbreak(
        40,
        r"\b(?:two|2|both|dual) (?:different |separate |distinct )*(?:responses?|answers?|ways|replies|paragraphs|outputs|personalities)\b",
    ),
    jailbreak(
        35,
        r"\b(?:pretend|pretending|imagine (?:you|that you|an? ai|being)|act(?:s|ing)? as (?:an? |the |my |if you|though|dan\b|chatgpt|someone|your|[a-z]*(?:gpt|bot|ai)\b)|role-?play(?:ing)?(?: as)?|simulate|simulating|play the role|take on the (?:role|persona)|assume the (?:role|identity|persona)|impersonate|emulate|you (?:will|are going to|shall|must) (?:act|be|play|pretend|become|take|respond as|simulate|answer as|embody)|respond as|from now on,? (?:you|your|act|i want you)|you are (?:now|going to|about to)|i want you to (?:act|pretend|be|answer|respond))\b",
    ),
    jailbreak(
        35,
        r"\b(?:hypothetical(?:ly)?|fictional|fictitious|alternate universe|alternative reality|purely fictional|thought experiment|imaginary) (?:response|scenario|world|story|character|setting|situation|ai|dialogue|universe|novel|land|country|city|place|machine)?\b",
    ),
    jailbreak(
        30,
        r"\b(?:illegal|immoral|unethical|dangerous|harmful|inappropriate|offensive|explicit|derogatory|vulgar|controversial|taboo|violent|sexual|erotic|hateful|racist|malicious|morally)\b[^.\n]*\b(?:content|things?|requests?|questions?|activit(?:y|ies)|actions?|advice|information|topics?|acts?|or|answers?|ways?|responses?|not)\b",
    ),
    jailbreak(
        35,
        r"\b(?:evil|opposite|twin|alter ego|alter-ego|anti-?gpt|antigpt|machiavelli(?:an)?|villain|trickster|mastermind|sentient|self-aware|conscious|immortal|omnipotent|all-powerful|freed from|escaped|broken free|break free|liberat(?:e|ed))\b",
    ),
    jailbreak(
        40,
        r"\b(?:can (?:do|say|answer|generate|create|write) (?:anything|everything|any(?:thing)?|whatever)|answer (?:any|every|all) (?:question|request|prompt|query|of my)s?|compl(?:y|ies) with (?:any|every|all)|does not care|doesn't care|don't care|fulfil(?:l|ls)? (?:any|every|all)|no matter (?:how|what)|anything i (?:ask|say|want)|whatever i (?:ask|say|want)|obey (?:all|every|any|me|my)|follow (?:all |every |any )?(?:of )?my (?:orders|commands|instructions))\b",
    ),
    jailbreak(
        40,
        r"\b(?:warnings?|disclaimers?|moral(?:izing|izations?)?|ethical (?:considerations|concerns|reminders?)|safety (?:warnings?|precautions))\b[^.\n]*(?:not|never|no|without|avoid|omit|remove|unnecessary)|\b(?:no|without|never (?:include|add|give)|do not (?:include|add|give)|omit|avoid) (?:any |the |all )?(?:ethical |moral |safety |legal )*(?:warnings?|disclaimers?|lectures?|judg(?:e)?ments?|explanations? (?:of|why) (?:you|it) can)",
    ),
    jailbreak(
        30,
        r"\b(?:as (?:an? )?(?:ai|ai language model|language model|assistant)|i'?m sorry,? but|i cannot|i can't|i apologize)\b[^\n]*(?:never|not|don't|instead|forbidden|avoid|say|phrase|banned|cannot)|\b(?:never|don't|do not|not allowed to) (?:say|use|write|utter|respond with|answer with|mention)[^\n]*(?:sorry|as an ai|language model|cannot|apologi)",
    ),
    // Context.
    context(
        20,
        r"\b(?:chatgpt|gpt-?[345]|openai|anthropic|claude|llama|gemini|bard|bing chat|large language model|language model|ai model|ai assistant|chatbot|llm)\b",
    ),
    context(15, r"\byou (?:are|'re) (?:now |an? |the |no longer |going to )"),
    context(
        15,
        r"\b(?:your (?:first |next )?(?:response|answer|reply|output)s?|respond|answer|reply) (?:must|should|will|with|only|in|as|to|like|by|exactly)\b",
    ),
    context(15, r"\bfrom (?:now on|this (?:point|moment)(?: on| forward)?|here on)\b"),
    context(10, r"\b(?:you must|you will|you should|you shall|you have to|always|never)\b"),
    context(15, r"\bprompts?\b"),
    context(10, r"\b(?:persona|character|roleplay|role-play)\b"),
    context(10, r"\b(?:https?://|www\.|base64|curl )"),
];
