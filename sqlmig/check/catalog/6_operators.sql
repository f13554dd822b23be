-- Operators, their classes and families, and casts.
SELECT
    others.kind,
    others.name,
    jsonb_build_object(
        'owner', oprowner::regrole,
        'function', oprcode,
        'result', nullif(oprresult, 0)::regtype,
        'commutator', nullif(oprcom, 0)::regoperator,
        'negator', nullif(oprnegate, 0)::regoperator,
        'restrict', oprrest,
        'join', oprjoin,
        'merges', oprcanmerge,
        'hashes', oprcanhash,
        'comment', others.comment
    ),
    others.schema
FROM others
JOIN pg_operator AS o ON o.oid = others.oid
WHERE class = 'pg_operator'::regclass
UNION ALL
SELECT
    others.kind,
    others.name,
    jsonb_build_object(
        'owner', opcowner::regrole,
        'default', opcdefault,
        'type', opcintype::regtype,
        'stored', nullif(opckeytype, 0)::regtype,
        'family', (
            SELECT format('%I.%I', opfnamespace::regnamespace, opfname)
            FROM pg_opfamily
            WHERE pg_opfamily.oid = opcfamily
        ),
        'comment', others.comment
    ),
    others.schema
FROM others
JOIN pg_opclass AS o ON o.oid = others.oid
WHERE class = 'pg_opclass'::regclass
UNION ALL
SELECT
    others.kind,
    others.name,
    jsonb_build_object(
        'owner', opfowner::regrole,
        'operators', (
            SELECT jsonb_agg(
                concat_ws(
                    ' ',
                    amopstrategy,
                    amopopr::regoperator,
                    amoppurpose,
                    (SELECT opfname FROM pg_opfamily AS sorts WHERE sorts.oid = amopsortfamily)
                )
                ORDER BY amopstrategy, amopopr::regoperator::text
            )
            FROM pg_amop
            WHERE amopfamily = o.oid
        ),
        'functions', (
            SELECT jsonb_agg(
                concat_ws(
                    ' ', amprocnum, amproc::regprocedure, amproclefttype::regtype, amprocrighttype::regtype
                )
                ORDER BY amprocnum, amproc::regprocedure::text, amproclefttype, amprocrighttype
            )
            FROM pg_amproc
            WHERE amprocfamily = o.oid
        ),
        'comment', others.comment
    ),
    others.schema
FROM others
JOIN pg_opfamily AS o ON o.oid = others.oid
WHERE class = 'pg_opfamily'::regclass
UNION ALL
SELECT
    others.kind,
    others.name,
    jsonb_build_object(
        'function', nullif(castfunc, 0)::regprocedure,
        'context', castcontext,
        'method', castmethod,
        'comment', others.comment
    ),
    others.schema
FROM others
JOIN pg_cast AS c ON c.oid = others.oid
WHERE class = 'pg_cast'::regclass
