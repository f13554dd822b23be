"""Columns of PostgreSQL's catalogs that `check` does not read by name, and why."""

from __future__ import annotations

# Columns that `check` covers through a function or through the row as a whole, by catalog.
TOLD_BY = {
    "pg_aggregate": (
        "to_jsonb",
        """
        aggkind aggnumdirectargs aggtransfn aggfinalfn aggcombinefn aggserialfn aggdeserialfn aggmtransfn aggminvtransfn
        aggmfinalfn aggfinalextra aggmfinalextra aggfinalmodify aggmfinalmodify aggtransspace aggmtransspace agginitval
        aggminitval
        """,
    ),
    "pg_collation": (
        "to_jsonb",
        "collname collprovider collisdeterministic collencoding collcollate collctype colliculocale colllocale collicurules",
    ),
    "pg_conversion": ("to_jsonb", "conforencoding contoencoding conproc condefault"),
    "pg_constraint": (
        "pg_get_constraintdef",
        """
        condeferrable condeferred conenforced confrelid confupdtype confdeltype confmatchtype conperiod confkey
        conpfeqop conppeqop conffeqop confdelsetcols conexclop conbin
        """,
    ),
    "pg_index": (
        "pg_get_indexdef",
        """
        indrelid indnatts indnkeyatts indisunique indnullsnotdistinct indkey indcollation indclass indoption indexprs
        indpred
        """,
    ),
    "pg_partitioned_table": (
        "pg_get_partkeydef",
        "partrelid partstrat partnatts partattrs partclass partcollation partexprs",
    ),
    "pg_proc": (
        "pg_get_functiondef",
        """
        prolang procost prorows provariadic prosupport proretset pronargs pronargdefaults prorettype proargtypes
        proallargtypes proargmodes proargnames proargdefaults protrftypes prosrc probin prosqlbody
        """,
    ),
    "pg_propgraph_element": (
        "pg_get_propgraphdef",
        """
        pgepgid pgerelid pgealias pgekind pgesrcvertexid pgedestvertexid pgekey pgesrckey pgesrcref pgesrceqop
        pgedestkey pgedestref pgedesteqop
        """,
    ),
    "pg_propgraph_element_label": ("pg_get_propgraphdef", "pgellabelid pgelelid"),
    "pg_propgraph_label": ("pg_get_propgraphdef", "pglpgid pgllabel"),
    "pg_propgraph_label_property": (
        "pg_get_propgraphdef",
        "plppropid plpellabelid plpexpr",
    ),
    "pg_propgraph_property": (
        "pg_get_propgraphdef",
        "pgppgid pgpname pgptypid pgptypmod pgpcollation",
    ),
    "pg_publication": (
        "to_jsonb",
        "puballtables puballsequences pubinsert pubupdate pubdelete pubtruncate pubviaroot pubgencols",
    ),
    "pg_rewrite": ("pg_get_ruledef", "ev_type is_instead ev_qual ev_action"),
    "pg_sequence": (
        "to_jsonb",
        "seqstart seqincrement seqmax seqmin seqcache seqcycle",
    ),
    "pg_statistic_ext": (
        "pg_get_statisticsobjdef",
        "stxrelid stxkeys stxkind stxexprs",
    ),
    "pg_trigger": (
        "pg_get_triggerdef",
        """
        tgfoid tgtype tgconstrrelid tgdeferrable tginitdeferred tgnargs tgattr tgargs tgqual tgoldtable tgnewtable
        """,
    ),
    "pg_ts_parser": ("to_jsonb", "prsstart prstoken prsend prsheadline prslextype"),
    "pg_ts_template": ("to_jsonb", "tmplinit tmpllexize"),
    "pg_cast": ("pg_describe_object", "castsource casttarget"),
    "pg_language": ("pg_describe_object", "lanname"),
    "pg_opclass": ("pg_describe_object", "opcmethod"),
    "pg_opfamily": ("pg_describe_object", "opfmethod"),
    "pg_operator": (
        "pg_describe_object",
        "oprname oprnamespace oprkind oprleft oprright",
    ),
    "pg_transform": ("pg_describe_object", "trftype trflang"),
    "pg_ts_config": ("pg_describe_object", "cfgname cfgnamespace"),
    "pg_ts_dict": ("pg_describe_object", "dictname dictnamespace"),
    "pg_user_mapping": ("pg_user_mappings", "umuser umserver"),
}

# Columns that `check` does not compare, by catalog: the reason, and the columns ("*" for all).
NOT_COMPARED = {
    "pg_amop": {
        "regoperator and the family's name have them": "amoplefttype amoprighttype amopmethod"
    },
    "pg_attribute": {
        "the type has them": "attlen attbyval attalign",
        "PostgreSQL keeps no count of dimensions": "attndims",
        "pg_attrdef has it": "atthasdef",
        "what rows without the column have, not how it is defined": "atthasmissing attmissingval",
        "the parents and their columns have it": "attinhcount",
        "a cache": "attcacheoff",
    },
    "pg_class": {
        "the place of the data": "relfilenode relrewrite",
        "statistics": "relpages reltuples relallvisible relallfrozen",
        "a summary of other catalogs": "relhasindex relnatts relchecks relhasrules relhastriggers relhassubclass",
        "the bound shows it": "relispartition",
        "only PostgreSQL's own are": "relisshared",
        "for VACUUM": "relfrozenxid relminmxid",
    },
    "pg_constraint": {
        "the index and the parent's constraint have their own entries": "conindid conparentid",
        "the parents and their constraints show it": "coninhcount",
    },
    "pg_depend": {"a part of an address": "refclassid"},
    "pg_extension": {
        "the extension's version determines them": "extrelocatable extconfig extcondition"
    },
    "pg_index": {
        "the constraint shows it": "indisprimary indisexclusion indimmediate",
        "steps on the way to a valid index": "indcheckxmin indisready indislive",
    },
    "pg_init_privs": {
        "whether initdb or an extension granted it": "privtype",
    },
    "pg_language": {"true for each but PostgreSQL's own": "lanispl"},
    "pg_largeobject": {"rows": "*"},
    "pg_partitioned_table": {"the partition's bound shows it": "partdefid"},
    "pg_range": {
        "functions that come with the type": "rngconstruct2 rngconstruct3"
        " rngmltconstruct0 rngmltconstruct1 rngmltconstruct2"
    },
    "pg_statistic": {"statistics": "*"},
    "pg_statistic_ext_data": {"statistics": "*"},
    "pg_subscription_rel": {"how far a subscription is": "*"},
    "pg_trigger": {
        "the parent's trigger has its own entry": "tgparentid",
        "the constraint's index": "tgconstrindid",
    },
    "pg_type": {
        "PostgreSQL keeps no count of dimensions": "typndims",
        "typdefault has it as text": "typdefaultbin",
    },
}

# Catalogs that all databases share. `check` refuses changes there, or reports them on a throwaway server.
SHARED_AND_NOT_READ = {
    "pg_shdepend": "it has rows about objects within a database",
    "pg_replication_origin": "how far a subscription is",
}
